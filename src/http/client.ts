import type { Context } from 'koa';
import { addressKey } from './client-address.ts';
import { tokenOf } from './authorization.ts';

/** Names whose share of a limit a request counts towards: its token's, or without one that of the network it comes from. */
export function clientOf(ctx: Context): string {
  const token = tokenOf(ctx);
  return token === undefined ? `address ${addressKey(ctx.ip)}` : `token ${token.name}`;
}
