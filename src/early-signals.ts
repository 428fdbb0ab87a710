/**
 * For the container, where the service is process 1: there a signal that nobody handles is lost, and while `main.ts` is being loaded
 * nobody does. The image loads this before it (`node --import`); `main.ts` takes over.
 */
process.on('SIGTERM', end);
process.on('SIGINT', end);
process.on('SIGHUP', end);

function end(): void {
  process.exit(0);
}
