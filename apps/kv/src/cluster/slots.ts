/** Hash slots as Redis Cluster counts them: CRC-16 of the key, or of its {tag}, modulo 16384. */

export const SLOT_COUNT = 16384

export function keySlot(key: string): number {
  const open = key.indexOf('{')
  const close = open === -1 ? -1 : key.indexOf('}', open + 1)
  const tagged = close > open + 1 ? key.slice(open + 1, close) : key
  let crc = 0
  for (let at = 0; at < tagged.length; at += 1) {
    crc = ((crc << 8) ^ (table[((crc >> 8) ^ tagged.charCodeAt(at)) & 0xff] ?? 0)) & 0xffff
  }
  return crc % SLOT_COUNT
}

/** CRC-16/XMODEM: polynomial 0x1021, start 0. */
const table = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
  return crc & 0xffff
})
