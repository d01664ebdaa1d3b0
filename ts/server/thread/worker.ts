/**
 * Where a worker thread begins: makes what the options describe, opens a server over it, and answers the thread that
 * began this one until that ends it.
 */

import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'

import { AssertionFailure, RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { SYSTEM_CLOCK } from '../../options.js'
import type { Logger, Recipe } from '../../types.js'
import type { GroupSettings } from '../open/group.js'
import { openServer } from '../open/open-server.js'
import type { Server } from '../server.js'
import { FarCodec, FarMachine, FarQueryCodec, FarResultCodec } from './far-machine.js'
import type { MachineLine } from './far-machine.js'
import { FarServer } from './far-server.js'
import { answerLook } from './glance.js'
import type { Look } from './glance.js'
import { Line } from './line.js'
import type { Said } from './line.js'
import { ErrorWire } from './wire-error.js'
import type { OpenArg, ToMachine, ToServer, WorkerData } from './words.js'

/** Events and lines of the log that the other thread has not taken; beyond them they are counted, and go. */
const NEWS_MAX = 4096

const { facts, looks } = workerData as WorkerData

class WorkerThread {
  readonly #errors = new ErrorWire()
  readonly #line: MachineLine
  #server: Server | null = null
  #far: FarServer | null = null
  #newsUntaken = 0
  #newsDropped = 0
  readonly #logger: Logger = {
    debug: (event, fields) => this.#log('debug', event, fields),
    info: (event, fields) => this.#log('info', event, fields),
    warn: (event, fields) => this.#log('warn', event, fields),
    error: (event, fields) => this.#log('error', event, fields),
  }

  readonly #port: MessagePort

  constructor(port: MessagePort) {
    this.#port = port
    this.#line = new Line<ToMachine, ToServer>(port, this.#errors, queueMicrotask)
    this.#line.serve({ open: (arg, id) => this.#open(arg, id) }, { newsTaken: (count) => this.#took(count) })
  }

  listen(): void {
    this.#port.on('message', (message: Said | Look) => {
      if ('look' in message) this.#answer(message)
      else this.#line.hear(message)
    })
  }

  async #open(arg: OpenArg, id: number): Promise<ToServer['asks']['open']['answer']> {
    const controller = new AbortController()
    this.#line.serve({}, { abort: (call) => call === id && controller.abort() })
    const machine = new FarMachine(this.#line, this.#errors, arg.machine)
    this.#line.serve({ restoreNext: () => machine.restoreNext() }, {})
    const server = await openServer(await this.#settingsOf(arg, machine, controller.signal))
    const far = new FarServer(server, this.#line, this.#errors, (name, event) =>
      this.#news(() => this.#line.tell('event', { name, event: this.#errors.encodeIn(event) })),
    )
    this.#server = server
    this.#far = far
    this.#line.serve({ ...far.asked, close: (options) => this.#close(server, far, options) }, far.told)
    void server.ended.then((fault) => {
      const told = fault === null ? null : this.#errors.encode(fault)
      this.#line.tell('ended', { fault: told, hasHalted: server.fault !== null, facts: far.facts })
    })
    return far.facts
  }

  async #settingsOf(arg: OpenArg, machine: FarMachine, signal: AbortSignal): Promise<GroupSettings> {
    const [transport, storage, snapshotStorage] = await Promise.all([
      made<GroupSettings['transport']>('transport', arg.transportRecipe),
      made<GroupSettings['storage']>('storage', arg.storageRecipe),
      made<GroupSettings['snapshotStorage']>('snapshotStorage', arg.snapshotStorageRecipe),
    ])
    return {
      ...arg.plain,
      ...{ transport, storage, snapshotStorage, signal, stateMachine: machine },
      codec: new FarCodec(this.#line, this.#errors, arg.machine),
      resultCodec: new FarResultCodec(),
      queryCodec: new FarQueryCodec('queryCodec'),
      answerCodec: new FarQueryCodec('answerCodec'),
      clock: SYSTEM_CLOCK,
      random: Math.random,
      logger: this.#logger,
      onJoin: arg.tellsJoin ? (status) => this.#news(() => this.#line.tell('join', status)) : null,
    }
  }

  async #close(
    server: Server,
    far: FarServer,
    options: ToServer['asks']['close']['arg'],
  ): Promise<ToServer['asks']['close']['answer']> {
    await server.close(options)
    return far.facts
  }

  /** Behind the turn for which what came before has asked. */
  #answer({ look, name }: Look): void {
    SYSTEM_CLOCK.defer(() => answerLook(facts, looks, { look, value: this.#far?.fact(name) }))
  }

  #log(level: keyof Logger, event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#news(() => this.#line.tell('log', { level, event, fields: plain(fields) }))
  }

  #news(tell: () => void): void {
    if (this.#newsUntaken >= NEWS_MAX) {
      this.#newsDropped += 1
      return
    }
    this.#newsUntaken += 1
    tell()
  }

  #took(count: number): void {
    this.#newsUntaken -= count
    if (this.#newsDropped === 0) return
    const dropped = this.#newsDropped
    this.#newsDropped = 0
    this.#logger.warn('thread.news-dropped', { count: dropped, server: this.#server?.id })
  }
}

async function made<Made>(option: string, { module, make, options }: Recipe): Promise<Made> {
  try {
    const exported = (await import(module)) as Readonly<Record<string, (options: unknown) => unknown>>
    const factory = exported[make]
    if (typeof factory !== 'function') throw new TypeError(`${module} exports no function ${make}`)
    return factory(options) as Made
  } catch (cause) {
    if (cause instanceof RaftError) throw cause
    const message = `option ${option} could not be made in the worker thread: ${textOf(cause)}. Correct its recipe, or leave thread out`
    throw new RaftError('ERR_RAFT_OPTIONS', message, { cause })
  }
}

/** What is no plain value is told in words. */
function plain(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const told = Object.entries(fields).map(([name, value]) => {
    return [name, typeof value === 'object' || typeof value === 'function' ? worded(value) : value]
  })
  return Object.fromEntries(told) as Readonly<Record<string, unknown>>
}

function worded(value: object | null): unknown {
  if (value === null || Array.isArray(value)) return value
  return 'message' in value ? textOf(value) : JSON.stringify(value)
}

if (parentPort === null) throw new AssertionFailure('a worker thread of a server was begun as a program')
new WorkerThread(parentPort).listen()
