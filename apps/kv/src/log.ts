/** One JSON line per event on stderr. */

import type { Logger } from 'balsa-raft'

export type Log = Logger

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

export function isLogLevel(text: string): text is LogLevel {
  return (levels as readonly string[]).includes(text)
}

/** `write` takes one line; the default is stderr. */
export function jsonLog(server: string, least: LogLevel, write: (line: string) => void = writeToStderr): Log {
  const at = (level: LogLevel) => {
    if (levels.indexOf(level) < levels.indexOf(least)) return () => undefined
    return (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
      write(`${toJson({ time: new Date().toISOString(), level, server, event, ...fields })}\n`)
    }
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function writeToStderr(line: string): void {
  process.stderr.write(line)
}

/**
 * Whoever reads stdout or stderr may go, and the disk under it may be full: what cannot be written is lost, and that is
 * all. Clients cause lines, so otherwise each of them could end the process. To be called once, before anything is
 * written.
 */
export function loseUnwritableLines(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
}

/** Never throws, whatever the fields are. */
function toJson(fields: Readonly<Record<string, unknown>>): string {
  try {
    return JSON.stringify(fields, (_key, value: unknown) => {
      if (typeof value === 'bigint') return String(value)
      return value instanceof Error ? { name: value.name, message: value.message } : value
    })
  } catch (error) {
    return JSON.stringify({ time: fields.time, event: fields.event, unprintable: String(error) })
  }
}
