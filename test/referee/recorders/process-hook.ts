/**
 * Writes down what the core of a real server process does, when the process is started with `node --import
 * file:///.../process-hook.js?dir=<folder> main.js --id <server>`. It puts itself in front of two methods of the core
 * and one of the applier, so the library holds no trace of it and pays nothing for it.
 *
 * Everything of a turn is in the file before anything of it leaves the process: a kill loses nothing that others have
 * seen.
 */

import { openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { RaftCore } from '#balsa/core/index.js'
import { Applier } from '#balsa/machine/applier.js'
import { ProcessRecorder } from './process-recorder.js'

const folder = new URL(import.meta.url).searchParams.get('dir')
const idAt = process.argv.indexOf('--id')
const id = idAt === -1 ? undefined : process.argv[idAt + 1]
if (folder !== null && id !== undefined) install(folder, id)

function install(dir: string, server: string): void {
  const file = openSync(join(dir, `${server}.${process.hrtime.bigint()}.jsonl`), 'ax')
  const recorder = new ProcessRecorder(server, (text) => writeSync(file, text))
  const { step, takeReady } = RaftCore.prototype
  const { apply } = Applier.prototype
  RaftCore.prototype.step = function (input) {
    recorder.stepping(this, input)
    step.call(this, input)
  }
  RaftCore.prototype.takeReady = function () {
    const ready = takeReady.call(this)
    recorder.taken(this, ready)
    return ready
  }
  Applier.prototype.apply = function (first, last, blocks) {
    recorder.applying(first, last, blocks)
    return apply.call(this, first, last, blocks)
  }
}
