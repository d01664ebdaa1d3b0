#!/usr/bin/env node
/**
 * One server in the foreground: reads the options, opens, and stays until it is told to close or halts. With `recover`
 * as its first word it makes a cluster of a folder instead, and ends.
 */

import { isatty } from 'node:tty'
import { exitCodeOf, exitCodes, UsageError } from './cli/exit-codes.js'
import { PASSWORD_VARIABLE, readsFiles } from './cli/security-options.js'
import { readRecoverOptions, RECOVER_HELP } from './cli/recover-options.js'
import { readServerOptions, SERVER_HELP, type ServerOptions } from './cli/server-options.js'
import { jsonLog, loseUnwritableLines, type Log } from './log.js'
import { CLOSE_MAX_MS } from './limits.js'
import type { OpenKv } from './open-kv.js'

loseUnwritableLines()
process.exitCode = await main(process.argv.slice(2))

async function main(words: readonly string[]): Promise<number> {
  const [command, ...rest] = words
  return command === 'recover' ? recover(rest) : run(words)
}

/** Answers a person: no log, and one line of what is wrong. */
async function recover(words: readonly string[]): Promise<number> {
  try {
    const options = readRecoverOptions(words)
    if (options === null) {
      process.stdout.write(RECOVER_HELP)
      return exitCodes.ok
    }
    const { recoverFolder } = await import('./recover.js')
    process.stdout.write(await recoverFolder(options))
    return exitCodes.ok
  } catch (error) {
    const exitCode = exitCodeOf(error)
    if (exitCode === exitCodes.defect) throw error
    process.stderr.write(`balsa-kv: ${(error as Error).message}\n`)
    return exitCode
  }
}

async function run(words: readonly string[]): Promise<number> {
  let options: ServerOptions | null
  try {
    options = readServerOptions(words, process.env)
    // No process that this one starts is to have it.
    delete process.env[PASSWORD_VARIABLE]
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`balsa-kv: ${error.message}\n`)
    return exitCodes.usage
  }
  if (options === null) {
    process.stdout.write(SERVER_HELP)
    return exitCodes.ok
  }
  const log = jsonLog(options.self.id, options.logLevel)
  process.on('uncaughtException', (error) => {
    log.error('server.defect', { message: error.message, stack: error.stack })
    process.exit(exitCodes.defect)
  })
  try {
    return await serve(options, log)
  } catch (error) {
    return fail(error, log)
  } finally {
    // What is still read would keep the process alive.
    if (options.stopWithStdin) process.stdin.destroy()
  }
}

async function serve(options: ServerOptions, log: Log): Promise<number> {
  let reload = (): void => undefined
  const stop = stopRequest(options.stopWithStdin, () => {
    reload()
    return readsFiles(options)
  })
  // Only now: the loader has all files of a level of imports open at once, and a process may be allowed few of them.
  const { openKv } = await import('./open-kv.js')
  const kv = await Promise.race([openKv(options, log), stop])
  if (typeof kv === 'string') {
    // Nothing has been promised yet: ended now is as good as killed.
    log.info('server.closed', { reason: `${kv} before it was open` })
    process.exit(exitCodes.ok)
  }
  reload = () => kv.reload()
  const event = await Promise.race([stop, kv.over])
  if (typeof event === 'string') log.info('server.closing', { reason: event })
  await closeInTime(kv, log)
  if (typeof event !== 'string' && event !== null) return fail(event, log)
  if (event === 'removed') {
    log.warn('server.removed', {
      message: 'this server is no member of the cluster any more; RAFT ADD makes it one again',
    })
    return exitCodes.removed
  }
  log.info('server.closed')
  return exitCodes.ok
}

/**
 * Ends the process when the store does not let go, as on a full disk: what was acknowledged is safe, and nothing else
 * was promised.
 */
async function closeInTime(kv: OpenKv, log: Log): Promise<void> {
  const timer = setTimeout(() => {
    log.error('server.failed', { message: `not closed within ${CLOSE_MAX_MS} ms: the store still waits for the disk` })
    process.exit(exitCodes.full)
  }, CLOSE_MAX_MS)
  await kv.close()
  clearTimeout(timer)
}

/**
 * Resolves with the reason to close. A second signal ends the process at once. `onHangup` may make another use of a
 * SIGHUP.
 */
function stopRequest(stopWithStdin: boolean, onHangup: () => boolean): Promise<string> {
  return new Promise((resolve) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (signal === 'SIGHUP' && !asked && onHangup()) return
        if (asked) process.exit(exitCodes.defect)
        asked = true
        resolve(signal)
      })
    }
    if (!stopWithStdin) return
    process.stdin.on('error', () => resolve('stdin failed'))
    process.stdin.on('end', () => resolve('stdin ended'))
    process.stdin.resume()
  })
}

/** One line: JSON for a log, plain for a person. */
function fail(error: unknown, log: Log): number {
  const exitCode = exitCodeOf(error)
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (isatty(2)) process.stderr.write(`balsa-kv: ${message}\n`)
  else log.error('server.failed', { code, message, exitCode, ...(exitCode === exitCodes.defect ? { stack } : {}) })
  return exitCode
}
