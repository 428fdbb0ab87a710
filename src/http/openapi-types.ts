export const string = { type: 'string' };
export const integer = { type: 'integer', minimum: 0 };
export const timestamp = { type: 'string', format: 'date-time' };

export function nullable(schema: { readonly type: string }) {
  return { ...schema, type: [schema.type, 'null'] };
}

/** All properties are required. More may come one day, so the object is open: clients of today must go on reading it. */
export function object(properties: Readonly<Record<string, object>>, description?: string) {
  return {
    type: 'object',
    ...(description === undefined ? {} : { description }),
    required: Object.keys(properties),
    properties,
  };
}
