/**
 * Loaded into a server before its own code: tells whoever started it, when asked, how long its event loop was away.
 * What the machine gave to other processes meanwhile does not count: never more than the processor time that was used.
 */

const EVERY_MS = 5

let at = performance.now()
let used = process.cpuUsage()
let longest = 0

setInterval(() => {
  const now = performance.now()
  const { user, system } = process.cpuUsage(used)
  longest = Math.max(longest, Math.min(now - at - EVERY_MS, (user + system) / 1000))
  at = now
  used = process.cpuUsage()
}, EVERY_MS).unref()

process.on('message', () => {
  process.send?.({ longestMs: Math.round(longest), rss: process.memoryUsage.rss() })
  longest = 0
})
process.channel?.unref()
