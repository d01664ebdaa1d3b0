/** Who hears what a server logs: the console, nobody, or the logger that was brought, of whatever make. */

import type { Logger, ServerId } from '../types.js'

type Fields = Readonly<Record<string, unknown>>

/** A line of the console is cut behind so many characters. */
const LINE_LENGTH_MAX = 2048

const SILENT: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** `id`: of the server that logs; null for none. */
export function loggerOf(option: Logger | false | null | undefined, id: ServerId | null): Logger {
  if (option === false) return SILENT
  if (option === undefined || option === null) return consoleLogger(id)
  return isPino(option) ? pinoLogger(option) : option
}

/** Warnings and errors, one line each: `balsa-raft s1: raft.stepped-down term=3 reason="no quorum answered"`. */
export function consoleLogger(id: ServerId | null): Logger {
  const head = id === null ? 'balsa-raft' : `balsa-raft ${id}`
  return {
    ...SILENT,
    // oxlint-disable-next-line no-console -- for whoever has said nothing of a logger
    warn: (event, fields) => console.warn(lineOf(head, event, fields)),
    // oxlint-disable-next-line no-console -- as above
    error: (event, fields) => console.error(lineOf(head, event, fields)),
  }
}

export function lineOf(head: string, event: string, fields: Fields = {}): string {
  const told = Object.entries(fields).map(([name, value]) => ` ${name}=${valueText(value)}`)
  const line = `${head}: ${event}${told.join('')}`
  return line.length <= LINE_LENGTH_MAX ? line : `${line.slice(0, LINE_LENGTH_MAX)}...`
}

/** A word as it is; what has spaces, quotes or other characters that end a line or a field, in quotes. */
function valueText(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  return /^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text)
}

/** So much of the loggers of pino: fields come first there. */
interface Pino {
  debug(fields: Fields, event: string): void
  info(fields: Fields, event: string): void
  warn(fields: Fields, event: string): void
  error(fields: Fields, event: string): void
}

/** Only loggers of pino tell their bindings and whether a level is on. */
function isPino(logger: object): logger is Pino {
  const { bindings, isLevelEnabled } = logger as Readonly<Record<string, unknown>>
  return typeof bindings === 'function' && typeof isLevelEnabled === 'function'
}

function pinoLogger(pino: Pino): Logger {
  return {
    debug: (event, fields = {}) => pino.debug(fields, event),
    info: (event, fields = {}) => pino.info(fields, event),
    warn: (event, fields = {}) => pino.warn(fields, event),
    error: (event, fields = {}) => pino.error(fields, event),
  }
}
