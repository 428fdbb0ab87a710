import type { Context } from 'koa';
import { renderOpenApi } from '../openapi.ts';
import { beginRead, sendShared, toSharedBody } from '../response.ts';

export type OpenApiRouteOptions = {
  readonly bootId: string;
  readonly version: string;
  readonly publicUrl: string | undefined;
};

/** `GET /openapi.json`: rendered once. */
export function createOpenApiRoute({
  bootId,
  version,
  publicUrl,
}: OpenApiRouteOptions): (ctx: Context) => Promise<void> {
  const body = toSharedBody(renderOpenApi(version, publicUrl));
  return async (ctx) => {
    if (beginRead(ctx, 'json', bootId)) await sendShared(ctx, body);
  };
}
