/** Addresses as operators write them: `host:port`, `[::1]:7000`, `kv-1.internal:7600`. */

export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * Null when the text is not `host:port`. The host of an IPv6 address stands in brackets, or the port could not be told
 * from it.
 */
export function parseAddress(text: string): Address | null {
  const match = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:[\]/]+)):(\d{1,5})$/.exec(text)
  if (match === null) return null
  const host = match[1] ?? match[2]
  const port = Number(match[3])
  return host === undefined || port > 65535 ? null : { host, port }
}

export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
