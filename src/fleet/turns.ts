/** Lets work begin a few pieces at a time, in the order in which it came. What waits costs little more than its promise. */
export type Turns = { run<T>(work: () => Promise<T>): Promise<T> };

/** @param max how many pieces run at a time */
export function createTurns(max: number): Turns {
  let waiting: (() => void)[] = [];
  /** Of the one that comes next; those before it are done with. */
  let next = 0;
  let running = 0;

  /** Hands the place on. */
  function end(): void {
    const start = waiting[next];
    if (start === undefined) {
      running -= 1;
      return;
    }
    next += 1;
    if (next === waiting.length) {
      waiting = [];
      next = 0;
    }
    start();
  }

  return {
    async run(work) {
      if (running < max) running += 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await work();
      } finally {
        end();
      }
    },
  };
}
