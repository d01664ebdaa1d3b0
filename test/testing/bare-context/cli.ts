/**
 * Loads a door of the library, and all that it imports, into a context that has nothing but the language, and lets a
 * cluster elect a leader there. Needs `--experimental-vm-modules`; its argument is the file of the door.
 */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { createContext, SourceTextModule } from 'node:vm'
import type { Module } from 'node:vm'

const context = createContext({})
const modules = new Map<string, Module>()

function load(file: string): Module {
  const known = modules.get(file)
  if (known !== undefined) return known
  const loaded = new SourceTextModule(readFileSync(file, 'utf8'), { context, identifier: file })
  modules.set(file, loaded)
  return loaded
}

const door = load(process.argv[2] ?? '')
await door.link((specifier, from) => {
  if (!specifier.startsWith('.')) throw new Error(`${from.identifier} imports ${specifier}`)
  return load(resolve(dirname(from.identifier), specifier))
})
await door.evaluate()

interface Door {
  readonly Stage: new () => { elect(id: string): { readonly id: string; readonly core: { readonly term: number } } }
}

const { Stage } = door.namespace as Door
const { id, core } = new Stage().elect('s1')
process.stdout.write(`${id} leads term ${core.term}\n`)
