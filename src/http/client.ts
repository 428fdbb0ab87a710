import { isIPv6 } from 'node:net';
import type { Context } from 'koa';
import { tokenOf } from './authorization.ts';

/** Names whose share of a limit a request counts towards: its token's, or without one that of the network it comes from. */
export function clientOf(ctx: Context): string {
  const token = tokenOf(ctx);
  return token === undefined ? `address ${networkOf(ctx.ip)}` : `token ${token.name}`;
}

/** An IPv4 address as it is; of an IPv6 address its first 64 bits, since one client commonly has all addresses that begin with them. */
export function networkOf(address: string): string {
  const [bare = ''] = address.split('%');
  const [, v4] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare) ?? [];
  if (v4 !== undefined) return v4;
  if (!isIPv6(bare)) return bare;
  // an IPv4 address at the end stands for two groups
  const [left = '', right] = bare.replace(/[\d.]+\.\d+$/, '0:0').split('::');
  const groups = splitGroups(left);
  const rest = right === undefined ? [] : splitGroups(right);
  while (groups.length + rest.length < 8) groups.push('0');
  const network = [...groups, ...rest].slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}

function splitGroups(text: string): string[] {
  return text === '' ? [] : text.split(':');
}
