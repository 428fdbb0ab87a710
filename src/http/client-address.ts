import { isIP, isIPv6 } from 'node:net';
import type { Context, Next } from 'koa';

/**
 * Makes a bare address of what a proxy has told in X-Forwarded-For: some write the port, too, or a word such as `unknown`. Then the address
 * that the connection comes from counts.
 */
export function cleanAddress(ctx: Context, next: Next): Promise<void> {
  ctx.request.ip = toAddress(ctx.ip) ?? ctx.socket.remoteAddress ?? '';
  return next();
}

/**
 * What stands for a client where clients are counted: an IPv4 address; or the first 64 bits of an IPv6 address, of which one client has as
 * many as it wants. Anything else as it is.
 */
export function addressKey(address: string): string {
  const bare = toAddress(address) ?? address;
  return isIPv6(bare) ? `${groupsOf(bare).slice(0, 4).join(':')}::/64` : bare;
}

/** The address in a text that may have a port, brackets or a zone; IPv4 that is mapped into IPv6 becomes IPv4. Undefined: there is none. */
function toAddress(text: string): string | undefined {
  const [, inBrackets, beforePort] = /^(?:\[([^\]]+)\](?::\d+)?|([^:]+):\d+)$/.exec(text.trim()) ?? [];
  const [bare = ''] = (inBrackets ?? beforePort ?? text.trim()).split('%');
  if (isIP(bare) === 0) return undefined;
  return isIPv6(bare) ? (toMappedAddress(groupsOf(bare)) ?? bare) : bare;
}

/** RFC 4291, section 2.5.5.2. */
function toMappedAddress(groups: readonly string[]): string | undefined {
  if (groups.slice(0, 6).join(':') !== '0:0:0:0:0:ffff') return undefined;
  const bytes = groups.slice(6).flatMap((group) => {
    const number = Number.parseInt(group, 16);
    return [number >> 8, number & 255];
  });
  return bytes.join('.');
}

/** The eight groups of an IPv6 address, in lower case and without leading zeros. */
function groupsOf(address: string): string[] {
  // URLs have one form for each address
  const [left = '', right] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const first = left.split(':').filter(Boolean);
  const last = right?.split(':').filter(Boolean) ?? [];
  return [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last];
}
