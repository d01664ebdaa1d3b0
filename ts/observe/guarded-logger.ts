/**
 * A user's logger, so that nothing that it does disturbs whoever logs: what it throws, or what a promise of it rejects
 * with, goes nowhere, and is told once, as a warning of the process.
 */

import { emitWarning } from 'node:process'

import { onRejection, textOf } from '../foreign-values.js'
import type { Logger } from '../types.js'

export function guardedLogger(logger: Logger): Logger {
  let isNoted = false
  const note = (what: string, cause: unknown): void => {
    if (isNoted) return
    isNoted = true
    const message = `the logger's ${what}: ${textOf(cause)}; lines may be missing, and nothing more is said of it`
    emitWarning(message, { type: 'BalsaWarning', code: 'BALSA_LOGGER' })
  }
  const guarded =
    (level: keyof Logger): Logger[typeof level] =>
    (event, fields) => {
      try {
        const answer: unknown = logger[level](event, fields)
        onRejection(answer, (cause) => note(`${level} rejected`, cause))
      } catch (cause) {
        note(`${level} threw`, cause)
      }
    }
  return { debug: guarded('debug'), info: guarded('info'), warn: guarded('warn'), error: guarded('error') }
}
