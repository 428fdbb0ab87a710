import { StoreError } from '../store.ts';

/** The lower byte of SQLite's result codes: the kind of failure. See https://sqlite.org/rescode.html. */
const KIND = 0xff;
const PERM = 3;
const BUSY = 5;
const LOCKED = 6;
const NOMEM = 7;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const NOTADB = 26;

const NO_DAMAGE = 'It is not damaged, and nothing was changed';

/**
 * Says what is wrong with a database, and what to do: each cause has its own remedy, and only a damaged file is one to be replaced.
 * @param error of SQLite or of the operating system
 * @param otherwise the sentence for what is neither
 * @param advice what to do when the file is damaged
 */
export function explainFailure(
  file: string,
  error: Error,
  otherwise: string,
  advice: string = damageAdvice(file),
): StoreError {
  const { errcode, code } = codesOf(error);
  const { message } = error;
  const sentence =
    errcode === undefined ? systemSentence(file, message, code) : sqliteSentence(file, message, errcode, advice);
  return new StoreError(sentence ?? otherwise, { cause: error });
}

export function damageAdvice(file: string): string {
  // SQLite would apply a write-ahead log that stays behind to the file that takes the place
  return (
    'Nothing was changed. Put a backup in its place with `npm run restore -- FILE`, which keeps what is there. ' +
    `Or: Move the file away (with ${file}-wal, if there is one) to start empty`
  );
}

/** Says whose the process is, and how to give it a file. */
export function accessSentence(file: string, message: string): string {
  return (
    `${file} may not be read and written by this user (uid ${process.getuid?.() ?? 'unknown'}: ${message}). ${NO_DAMAGE}. ` +
    'Give it to that user (chown, chmod), or start the service as the user whose it is.'
  );
}

function sqliteSentence(file: string, message: string, errcode: number, advice = ''): string | undefined {
  switch (errcode & KIND) {
    case BUSY:
    case LOCKED:
      return `${file} is locked by another program (${message}), such as a shell or a backup. ${NO_DAMAGE}. End that program and start again.`;
    case PERM:
    case READONLY:
      return `${file} or the folder that it is in may not be written by this user (${message}). ${NO_DAMAGE}. Give both to the user that runs the service.`;
    case FULL:
      return `${file} needs room on the disk, and there is none (${message}). ${NO_DAMAGE}. Make room and start again.`;
    case CANTOPEN:
      return (
        `${file} or a file beside it (-wal, -shm) cannot be opened (${message}). Nothing says that it is damaged, and nothing was changed. ` +
        'See that this user may write to the folder, that the disk has room, and that enough files may be open.'
      );
    case IOERR:
      return (
        `${file} or a file beside it (-wal, -shm) cannot be read or written (${message}). Nothing says that it is damaged, and nothing was changed. ` +
        "See whether the disk has room, and the system's log for errors of the disk."
      );
    case NOMEM:
      return `${file} needs more memory than there is (${message}). ${NO_DAMAGE}. Give the service more.`;
    case CORRUPT:
    case NOTADB:
      return `${file} is damaged (${message}). ${advice}.`;
    default:
      return undefined;
  }
}

function systemSentence(file: string, message: string, code: string | undefined): string | undefined {
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return accessSentence(file, message);
    case 'ENOSPC':
    case 'EDQUOT':
      return sqliteSentence(file, message, FULL);
    case 'EIO':
      return sqliteSentence(file, message, IOERR);
    case 'EMFILE':
    case 'ENFILE':
      return sqliteSentence(file, message, CANTOPEN);
    default:
      return undefined;
  }
}

/** Of the error, or of one that caused it. */
function codesOf(error: Error): { errcode?: number; code?: string } {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const { errcode, code } = at as { errcode?: number; code?: string };
    if (errcode !== undefined) return { errcode };
    if (code !== undefined && code !== 'ERR_SQLITE_ERROR') return { code };
  }
  return {};
}
