/**
 * One opener per directory, with locks that the kernel gives back when the process dies. Node has no call for one, so:
 *
 * - Linux: a socket of the abstract namespace, named by the directory's device and inode, keeps out every process of
 *   the same network namespace; `flock` on the file LOCK keeps out the rest (other containers) and `nativeStore()`. The
 *   lock belongs to the open file, so the program `flock`, to which the descriptor is passed, takes it and ends, and it
 *   stays. Where that program is missing the socket stands alone, and the warning says so.
 * - Windows: a named pipe, of which there can be one first instance.
 * - Elsewhere: the flag O_EXLOCK of open, which is `flock` (macOS, the BSDs).
 *
 * The text in LOCK names the holder. The file is never deleted: a second opener could hold the deleted one.
 */

import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Server } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'

import { RaftError } from '../../errors.js'

export interface DirectoryLock {
  /** What the operator should know about it. */
  readonly warning: string | null
  release(): Promise<void>
}

/** Not among Node's constants; the number is the same on macOS and the BSDs. */
const O_EXLOCK = 0x20
/** More than this is not ours. */
const HOLDER_BYTES_MAX = 512
/** The program `flock` ends with this when another holds the lock. */
const FLOCK_IS_HELD = 1

const NO_FLOCK =
  'the program flock (util-linux or busybox) did not run: processes in other containers are not kept out of the directory'

export async function lockDirectory(dir: string): Promise<DirectoryLock> {
  const name = await socketName(dir)
  const server = name === null ? null : await listen(name)
  if (server === 'taken') throw await lockedError(dir)
  let file: FileHandle | null = null
  try {
    file = await openLockFile(dir)
    const flocked = process.platform === 'linux' ? await flock(file) : 'locked'
    if (flocked === 'held') throw await lockedError(dir)
    await nameHolder(file)
    const release = (): Promise<void> => unlock(file, server)
    return { warning: flocked === 'locked' ? null : NO_FLOCK, release }
  } catch (error) {
    await unlock(file, server)
    throw error
  }
}

async function unlock(file: FileHandle | null, server: Server | null): Promise<void> {
  try {
    await file?.close()
  } finally {
    await stop(server)
  }
}

/** Null where sockets lock nothing: their names are files, which outlive the process. */
async function socketName(dir: string): Promise<string | null> {
  const { dev, ino } = await stat(dir, { bigint: true })
  if (process.platform === 'linux') return `\0balsa-store-${dev}-${ino}`
  return process.platform === 'win32' ? `\\\\.\\pipe\\balsa-store-${dev}-${ino}` : null
}

function listen(name: string): Promise<Server | 'taken'> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve('taken')
      else reject(error)
    })
    // A worker of node:cluster would else share it with its like, and keep none of them out.
    server.listen({ path: name, exclusive: true }, () => resolve(server))
  })
}

async function stop(server: Server | null): Promise<void> {
  if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()))
}

async function openLockFile(dir: string): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT
  const usesFlag = process.platform !== 'linux' && process.platform !== 'win32'
  try {
    return await open(join(dir, 'LOCK'), usesFlag ? flags | O_EXLOCK | constants.O_NONBLOCK : flags)
  } catch (error) {
    if (usesFlag && (error as NodeJS.ErrnoException).code === 'EAGAIN') throw await lockedError(dir)
    throw error
  }
}

function flock(file: FileHandle): Promise<'locked' | 'held' | 'unavailable'> {
  return new Promise((resolve) => {
    try {
      const child = spawn('flock', ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] })
      child.once('error', () => resolve('unavailable'))
      child.once('exit', (code) => {
        if (code === 0) resolve('locked')
        else resolve(code === FLOCK_IS_HELD ? 'held' : 'unavailable')
      })
    } catch {
      // Node's permission model refuses to start programs.
      resolve('unavailable')
    }
  })
}

async function nameHolder(file: FileHandle): Promise<void> {
  const text = `process ${process.pid} on ${hostname()}`
  await file.truncate(0)
  const { bytesWritten } = await file.write(text, 0)
  // The time of that write, by the clock of the filesystem.
  const { mtime } = await file.stat()
  await file.write(` since ${mtime.toISOString()}\n`, bytesWritten)
}

async function lockedError(dir: string): Promise<RaftError> {
  const holder = await readHolder(join(dir, 'LOCK'))
  return new RaftError(
    'ERR_RAFT_DIR_LOCKED',
    `The directory ${dir} is in use by ${holder}. One directory serves one open store: stop that process or choose another directory`,
  )
}

async function readHolder(path: string): Promise<string> {
  const unnamed = 'a process that has not named itself yet'
  try {
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HOLDER_BYTES_MAX), 0, HOLDER_BYTES_MAX, 0)
      const text = buffer.toString('utf8', 0, bytesRead).trim()
      return text === '' ? unnamed : text
    } finally {
      await file.close()
    }
  } catch {
    return unnamed
  }
}
