/** A bound on the memory of a process, as a container has it. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type MemoryGroup = {
  /** What bounds it, for a test's title. */
  readonly name: string;
  /** For `startMain`. */
  readonly env: Readonly<Record<string, string>>;
  readonly launcher: readonly string[];
  /** The processes in it must be gone. */
  remove(): void;
};

/** What k8s/base grants, and the heap that Node then takes. */
const LIMIT_BYTES = 768 * 1_048_576;
const HEAP_MIB = 408;

/** Where the kernel has them: version 2, then version 1. */
const KINDS = [
  { root: '/sys/fs/cgroup', file: 'memory.max', marker: 'cgroup.controllers' },
  { root: '/sys/fs/cgroup/memory', file: 'memory.limit_in_bytes', marker: 'memory.limit_in_bytes' },
];

/** A control group of 768 MiB, where this user may make one; else the same limit on Node's heap. */
export function openMemoryGroup(): MemoryGroup {
  for (const { root, file, marker } of KINDS) {
    const folder = join(root, `gitops-status-test-${process.pid}-${Math.trunc(performance.now())}`);
    if (!existsSync(join(root, marker)) || !isMade(folder, file)) continue;
    return {
      name: 'a memory cgroup of 768 MiB',
      env: {},
      launcher: ['sh', '-c', `echo $$ > ${folder}/cgroup.procs; exec "$@"`, 'sh'],
      remove: () => rmdirSync(folder),
    };
  }
  return {
    name: `a heap of ${HEAP_MIB} MiB`,
    env: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}` },
    launcher: [],
    remove() {},
  };
}

function isMade(folder: string, file: string): boolean {
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, file), String(LIMIT_BYTES));
    return Number(readFileSync(join(folder, file), 'utf8')) === LIMIT_BYTES;
  } catch {
    if (existsSync(folder)) rmdirSync(folder);
    return false;
  }
}
