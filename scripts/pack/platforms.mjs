/**
 * The platforms that get a package: `napi.targets` in package.json, as the tool reads it. `ts/native/load.ts` must name
 * the same.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseTriple } from '@napi-rs/cli'
import { root } from '../ensure-built.mjs'
import { hostPlatform } from './addon.mjs'

const { napi } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const libcs = { gnu: 'glibc', musl: 'musl' }

export const platforms = napi.targets.map((triple) => {
  const { platformArchABI: name, platform: os, arch: cpu, abi } = parseTriple(triple)
  return { name, os, cpu, libc: libcs[abi], triple }
})

/** The platform of this process; undefined where there is no package for it. */
export const thisPlatform = platforms.find(({ name }) => name === hostPlatform())

export function packageName({ name }) {
  return `${napi.packageName}-${name}`
}
