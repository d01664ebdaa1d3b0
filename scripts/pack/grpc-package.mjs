/** The package for gRPC, as a stranger has it: packed, and used beside the root package that was installed in a folder. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { root } from '../ensure-built.mjs'
import { expect, freePorts, run } from './steps.mjs'

export const grpcFolder = join(root, 'packages/grpc')

const FILES = /^package\/(?:package\.json|LICENSE|README\.md|proto\/.+\.proto|dist\/.+\.(?:js|d\.ts))$/
const ADDRESS = '`127.0.0.1:${7600 + n}`'

/**
 * In a folder of its own, which must not be there yet: `full` has the root package installed, and stays as it is;
 * `tarball` is that of the package. Resolves to what was seen.
 */
export async function checkGrpcPackage(tarball, full, folder) {
  const options = { cwd: dirname(tarball), encoding: 'utf8' }
  const files = execFileSync('tar', ['-tzf', basename(tarball)], options)
    .trim()
    .split('\n')
  const stranger = files.find((path) => !FILES.test(path))
  if (stranger !== undefined) throw new Error(`${stranger} does not belong in the package`)
  const place = join(folder, 'node_modules/@balsa-raft/grpc')
  mkdirSync(place, { recursive: true })
  execFileSync('tar', ['-xzf', basename(tarball), '-C', place, '--strip-components', '1'], options)
  const link = (from, name) =>
    symlinkSync(join(from, 'node_modules', name), join(folder, 'node_modules', name), 'junction')
  link(full, 'balsa-raft')
  // With what it needs in turn: as in the tree.
  link(root, '@grpc')
  await runSample(folder)
  const attw = join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  const words = [tarball, '--profile', 'esm-only', '--no-definitely-typed', '--no-color']
  run(process.execPath, [attw, ...words, '--exclude-entrypoints', './proto/*'], folder)
  const bytes = readFileSync(tarball)
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
  const { messages, pkg } = await publint({ pack: { tarball: buffer }, strict: true })
  if (messages.length > 0)
    throw new Error(messages.map((each) => formatMessage(each, pkg, { color: false })).join('; '))
  return `${bytes.length} bytes, ${files.length} files; its sample runs; publint and types: nothing to say`
}

async function runSample(folder) {
  const [, sample = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync(join(grpcFolder, 'README.md'), 'utf8')) ?? []
  const said = /console\.log\(.*\) \/\/ (.*)\n/.exec(sample)?.[1]
  if (said === undefined || !sample.includes(ADDRESS))
    throw new Error('the sample of its README is written in another way')
  const ports = JSON.stringify(await freePorts(4))
  writeFileSync(join(folder, 'grpc-sample.mjs'), sample.replace(ADDRESS, `\`127.0.0.1:\${${ports}[n]}\``))
  rmSync(join(folder, 'data'), { recursive: true, force: true })
  expect(run(process.execPath, ['grpc-sample.mjs'], folder), said)
}
