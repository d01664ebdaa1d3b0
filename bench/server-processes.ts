/** Three servers as processes of their own, for whatever is measured on them. */

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FromServer, ToServer, Usage } from './messages.js'

export const SERVERS = 3

/** Starts three servers over empty folders below `dir`; resolves when all are ready. */
export async function startServers(dir: string, profile: string | undefined): Promise<readonly ChildProcess[]> {
  const ports = await freePorts(SERVERS)
  const list = ports.map((port, at) => `s${at + 1}=127.0.0.1:${port}`).join(',')
  const script = fileURLToPath(new URL('apply-server.js', import.meta.url))
  const execArgv = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const started = ports.map((_, at) => fork(script, [`s${at + 1}`, join(dir, `s${at + 1}`), list], { execArgv }))
  await Promise.all(started.map((server) => next(server, 'ready')))
  return started
}

export async function findLeader(servers: readonly ChildProcess[]): Promise<ChildProcess> {
  for (const server of servers) if ((await usageOf(server)).role === 'leader') return server
  throw new Error('no leader: the servers lost it between two rounds; run again on a quieter machine')
}

export function usageOf(server: ChildProcess): Promise<Usage> {
  return ask(server, { type: 'usage' })
}

export function ask<Answer extends FromServer>(server: ChildProcess, question: ToServer): Promise<Answer> {
  const answer = next<Answer>(server, question.type === 'load' ? 'loaded' : 'usage')
  server.send(question)
  return answer
}

function next<Answer extends FromServer>(server: ChildProcess, type: Answer['type']): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a server ended early, exit code ${code}`))
    server.once('exit', onExit)
    const onMessage = (message: FromServer): void => {
      if (message.type !== type) return
      server.off('exit', onExit)
      server.off('message', onMessage)
      resolve(message as Answer)
    }
    server.on('message', onMessage)
  })
}

export function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    server.once('exit', () => resolve())
    const question: ToServer = { type: 'close' }
    server.send(question)
  })
}

export async function freePorts(count: number): Promise<readonly number[]> {
  const held = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const ports = held.map((server) => (server.address() as { port: number }).port)
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** A whole number from the command line; ends the process with the reason when it is none. */
export function bounded(name: string, text: string, max: number): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > max) {
    console.error(`${name} is ${text}; must be a whole number of 1 .. ${max}`)
    process.exit(64)
  }
  return value
}
