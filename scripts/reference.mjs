/**
 * `npm run docs`: the reference of every public name, as HTML in `build/reference`, from the comments in the
 * declarations that the build has written. With `--check` nothing is written: a public name without a comment and a
 * link that leads nowhere are errors, and so is anything else that TypeDoc warns of.
 *
 * TypeDoc needs the compiler's JavaScript interface, which TypeScript 7 does not have yet; it and the compiler that it
 * reads declarations with are those of `docs/reference` (docs/adr/0013-the-reference-has-a-compiler-of-its-own.md).
 */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { ensureBuilt, root } from './ensure-built.mjs'

const HOME = join(root, 'docs/reference')
const OUT = join(root, 'build/reference')

/** Whatever a reader may ask about: what a call takes and gives, and each name behind a door. */
const DOCUMENTED = ['Class', 'Interface', 'TypeAlias', 'Function', 'Variable', 'Method', 'Accessor']

/** Resolves with the number of what was found; each was told on standard error. */
export async function makeReference({ isCheck }) {
  const { Application } = await import(pathToFileURL(createRequire(join(HOME, 'package.json')).resolve('typedoc')).href)
  const app = await Application.bootstrap({
    name: 'balsa-raft',
    entryPoints: [...doors().keys()],
    tsconfig: join(HOME, 'tsconfig.json'),
    readme: join(HOME, 'front.md'),
    out: OUT,
    basePath: root,
    disableSources: true,
    excludePrivate: true,
    excludeInternal: true,
    logLevel: isCheck ? 'Warn' : 'Info',
    validation: { notExported: false, invalidLink: true, rewrittenLink: true, notDocumented: true },
    requiredToBeDocumented: DOCUMENTED,
  })
  const project = await app.convert()
  if (project === undefined) throw new Error('TypeDoc could not read the declarations; it says why above')
  // TypeDoc calls a door by its file.
  for (const door of project.children ?? []) door.name = doors().get(fileOf(door.name)) ?? door.name
  app.validate(project)
  if (!isCheck) await app.generateOutputs(project)
  return app.logger.errorCount + app.logger.warningCount
}

/** By the declarations behind it, the name of each door of the package. */
function doors() {
  const { name, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return new Map(
    Object.entries(exports).map(([door, path]) => [fileOf(path.replace(/\/index\.js$/, '')), name + door.slice(1)]),
  )
}

const fileOf = (folder) => join(root, folder, 'index.d.ts')

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
    await ensureBuilt()
    const found = await makeReference({ isCheck: values.check })
    if (found > 0) throw new Error(`${found} gaps in the comments of public names; they are listed above`)
    if (!values.check) process.stderr.write(`balsa: build/reference/index.html\n`)
  } catch (error) {
    process.stderr.write(`balsa: ${error.message}\n`)
    process.exitCode = 1
  }
}
