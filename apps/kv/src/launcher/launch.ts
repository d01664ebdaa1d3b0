/**
 * `npm start`: starts the servers of a cluster as processes of their own, waits until they agree on a leader, says
 * where everything is, and keeps watch until it is told to stop.
 */

import { formatAddress, type Member } from '../cluster/members.js'
import { exitCodeOf, exitCodes } from '../cli/exit-codes.js'
import { addServer } from './add-server.js'
import { AddError, agree, askServer, type Answer } from './ask-server.js'
import { clusterScreen, type Screen } from './cluster-screen.js'
import { loseUnwritableLines } from '../log.js'
import { readSecretFile, Secret } from '../security/small-file.js'
import { markRemoved, membersOfLastStart, membersToStart, prepareDataDir } from './data-dir.js'
import { LAUNCH_HELP, readLaunchOptions, type LaunchOptions } from './launch-options.js'
import { checkPorts, checkStopped } from './ports.js'
import { ServerProcess } from './server-process.js'

const AGREE_MAX_MS = 60_000
const ASK_EVERY_MS = 100

/** Resolves with the exit code once everything is stopped. */
export async function launch(words: readonly string[]): Promise<number> {
  loseUnwritableLines()
  try {
    const options = readLaunchOptions(words)
    if (options === null) {
      process.stdout.write(LAUNCH_HELP)
      return exitCodes.ok
    }
    const screen = clusterScreen(process.stdout)
    if (options.adds) {
      await addServer(options.dataDir, screen, passwordOf(options))
      return exitCodes.ok
    }
    const members = membersToStart(options)
    await checkPorts(members, '--port can move all of them')
    if (options.fresh) await checkStopped(membersOfLastStart(options.dataDir), options.dataDir)
    prepareDataDir(options)
    return await new Cluster(options, members, screen, passwordOf(options)).run()
  } catch (error) {
    const code = exitCodeOf(error)
    if (code === exitCodes.defect && !isSystemError(error) && !(error instanceof AddError)) throw error
    process.stderr.write(`npm start: ${(error as Error).message}\n`)
    return code
  }
}

/** Such as a data folder that cannot be written. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

/** What the servers are asked with. Throws SecurityError. */
function passwordOf({ password }: LaunchOptions): Secret | null {
  if (password === null || password instanceof Secret) return password
  return new Secret(readSecretFile('--password-file', password.file))
}

class Cluster {
  readonly #options: LaunchOptions
  readonly #screen: Screen
  readonly #password: Secret | null
  #servers: readonly ServerProcess[]
  #isStopping = false
  /** Wakes whoever waits for the next look. */
  #wake: () => void = () => undefined
  #onAllGone: () => void = () => undefined
  #leader: Member | null = null
  #isUp = false
  /** Every server ended by itself. */
  #allGone = false

  constructor(options: LaunchOptions, members: readonly Member[], screen: Screen, password: Secret | null) {
    this.#options = options
    this.#screen = screen
    this.#password = password
    this.#servers = members.map((member) => this.#serverOf(member))
  }

  get #members(): readonly Member[] {
    return this.#servers.map(({ member }) => member)
  }

  #serverOf(member: Member): ServerProcess {
    return new ServerProcess(member, this.#options, {
      onEnd: (server, how, again) => this.#onEnd(server, how, again),
      onStart: (server) => this.#onStart(server),
      onRemoved: (server) => this.#onRemoved(server),
    })
  }

  async run(): Promise<number> {
    const stopped = this.#stopRequest()
    this.#screen.say(`starting ${this.#servers.length} servers ...`)
    for (const server of this.#servers) server.start()
    void this.#bringUp()
    await stopped
    this.#isStopping = true
    this.#wake()
    this.#screen.say('stopping ...')
    await Promise.all(this.#servers.map((server) => server.close()))
    this.#screen.say('all servers have stopped; their data stays')
    return this.#allGone ? exitCodes.defect : exitCodes.ok
  }

  /** Resolves at the first signal, or when no server is left; a second signal kills. */
  #stopRequest(): Promise<void> {
    return new Promise((resolve) => {
      this.#onAllGone = resolve
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
        process.on(signal, () => {
          if (this.#isStopping) for (const server of this.#servers) server.kill()
          resolve()
        })
      }
    })
  }

  async #bringUp(): Promise<void> {
    const answers = await this.#untilAgreed()
    if (this.#isStopping) return
    if (answers === null) {
      this.#screen.warn(
        `the servers have not agreed on a leader within ${AGREE_MAX_MS / 1000} s; their logs may say why:`,
      )
      for (const { log } of this.#servers) this.#screen.say(`  ${log}`)
      return
    }
    this.#isUp = true
    this.#screen.say('')
    this.#screen.table(this.#servers, answers)
    const port = this.#servers[0]?.member.redis.port
    // `-c`: it goes where MOVED says.
    const client = this.#options.forwards ? 'redis-cli' : 'redis-cli -c'
    this.#screen.say(`\ntry    ${client} -p ${port} set greeting hello`)
    this.#screen.say(`       ${client} -p ${this.#servers.at(-1)?.member.redis.port} get greeting`)
    if (this.#password !== null)
      this.#screen.say(`       each with the password, as REDISCLI_AUTH=<password> ${client} ...`)
    this.#screen.say('stop   Ctrl-C\n')
    void this.#watchLeader()
  }

  /** Null: not in time. */
  async #untilAgreed(): Promise<readonly (Answer | null)[] | null> {
    const deadline = Date.now() + AGREE_MAX_MS
    while (!this.#isStopping && Date.now() < deadline) {
      const answers = await this.#ask()
      const leader = agree(answers, this.#members)
      if (leader !== null) {
        this.#leader = leader
        return answers
      }
      await this.#pause(ASK_EVERY_MS)
    }
    return null
  }

  /** What `npm start -- --add` has written down meanwhile. */
  #startAdded(): void {
    let members: readonly Member[]
    try {
      members = membersToStart({ ...this.#options, fresh: false })
    } catch (error) {
      return this.#screen.warn((error as Error).message)
    }
    for (const member of members) {
      if (this.#members.some(({ id }) => id === member.id)) continue
      const server = this.#serverOf(member)
      this.#servers = [...this.#servers, server]
      server.start()
    }
  }

  /** Says when another server leads: that is what there is to see when one is killed. */
  async #watchLeader(): Promise<void> {
    while (!this.#isStopping) {
      this.#startAdded()
      const members = this.#members
      const answers = await this.#ask()
      const leading = answers.findIndex((answer) => answer?.role === 'leader')
      const leader = members[leading] ?? null
      if (leader !== null && leader !== this.#leader) {
        this.#leader = leader
        this.#screen.say(`${leader.id} at ${formatAddress(leader.redis)} leads now, in term ${answers[leading]?.term}`)
      }
      await this.#pause(1000)
    }
  }

  #ask(): Promise<readonly (Answer | null)[]> {
    return Promise.all(
      this.#servers.map(({ pid, member }) =>
        pid === null ? Promise.resolve(null) : askServer(member, this.#password),
      ),
    )
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #onStart(server: ServerProcess): void {
    if (!this.#isUp) return
    const { member, pid, isFirstStart, log } = server
    if (!isFirstStart) return this.#screen.say(`${member.id} was started again, pid ${pid}`)
    const where = `at ${formatAddress(member.redis)}`
    this.#screen.say(`${member.id} was started ${where}, pid ${pid}; the cluster is to add it. Its log: ${log}`)
  }

  #onRemoved(server: ServerProcess): void {
    const { id } = server.member
    this.#servers = this.#servers.filter((other) => other !== server)
    markRemoved(this.#options.dataDir, id)
    this.#screen.say(`${id} was removed from the cluster, and has ended; its data stays in ${server.dir}`)
  }

  #onEnd(server: ServerProcess, how: string, again: number | null): void {
    const next = again === null ? 'it is not started again' : `it is started again in ${again} ms`
    this.#screen.warn(`${server.member.id} ${how}; ${next}. Its log: ${server.log}`)
    this.#wake()
    if (again === null && this.#servers.every(({ isGone }) => isGone)) {
      this.#screen.warn('no server is left')
      this.#allGone = true
      this.#onAllGone()
    }
  }
}
