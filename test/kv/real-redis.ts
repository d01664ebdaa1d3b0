/**
 * A real redis-server to compare with, where one is installed: in memory, on a free port of loopback, in a folder of
 * its own.
 */

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { freePort } from '../../support/free-addresses.js'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Null: there is one, of the version whose answers are expected. */
export function missingRedis(): string | null {
  const found = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  if (found.error !== undefined) return 'redis-server is not installed here'
  return / v=7\.0\./.test(found.stdout) ? null : `redis-server is not version 7.0: ${found.stdout.trim()}`
}

export interface RealRedis {
  readonly port: number
  readonly stop: () => Promise<void>
}

/** `more`: what else stands on its command line. */
export async function startRedis(...more: readonly string[]): Promise<RealRedis> {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-redis-'))
  const port = await freePort()
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir]
  const child = spawn('redis-server', [...options, '--proto-max-bulk-len', '1048576', ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    let log = ''
    child.stdout.on('data', (chunk: Buffer) => {
      log += chunk.toString()
      if (log.includes('Ready to accept connections')) resolve()
    })
    child.once('exit', () => reject(new Error(`redis-server ended: ${log}`)))
  })
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exited
    rmSync(dir, { recursive: true, force: true })
  }
  return { port, stop }
}
