import { chmodSync, closeSync, openSync } from 'node:fs';

/**
 * Lets nobody but this user read and write the file, which is made if need be.
 * @throws the system's error when it cannot be made
 */
export function makePrivate(file: string): void {
  closeSync(openSync(file, 'a', 0o600));
  try {
    chmodSync(file, 0o600);
  } catch {
    // another user's, who lets us write it, or a file system without modes: there it stays as it is
  }
}
