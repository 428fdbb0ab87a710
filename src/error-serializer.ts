/** What the log shows of an error: never all of its own fields, since some errors carry what a client sent. */
export function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  const { code } = error as NodeJS.ErrnoException;
  return { type: name, message, stack, code, cause: cause === undefined ? undefined : serializeError(cause) };
}
