/** The bounds of a plan: each number that is out of them is named, with the bound. */

import { RaftError } from '../../errors.js'
import { FAULT_NAMES } from './faults/fault-names.js'
import type { Plan } from './plan.js'
import { checkOptionNames } from '../../option-checks.js'

const SEED_MAX = 2 ** 32 - 1

/** Throws ERR_RAFT_OPTIONS on the first thing that is wrong. */
export function checkPlan(plan: Plan): void {
  const { network, chaos, disk, clients } = plan
  checkWhole('seed', plan.seed, 0, SEED_MAX)
  checkWhole('servers', plan.servers, 1, 9)
  check('electionTimeoutMs', plan.electionTimeoutMs, 30, 600_000)
  check('heartbeatMs', plan.heartbeatMs, 10, plan.electionTimeoutMs / 3)
  check('turnMs', plan.turnMs, 0, 1000)
  check('applyMs', plan.applyMs, 0, 10_000)
  check('network.delayMs', network.delayMs, 0, 10_000)
  check('network.jitterMs', network.jitterMs, 0, 10_000)
  check('network.keepAliveMs', network.keepAliveMs, 1, 6_000_000)
  for (const [name, chance] of Object.entries(chaos)) check(`chaos.${name}`, chance, 0, 1)
  check('disk.writeMs', disk.writeMs, 0, 10_000)
  check('disk.readMs', disk.readMs, 0, 10_000)
  // A leader sends up to 1 MiB at once, and one block more: an idle store must have room for that.
  checkWhole('disk.capacityBytes', disk.capacityBytes, 2.5 * 2 ** 20, 2 ** 30)
  checkWhole('stateBytes', plan.stateBytes, 0, 2 ** 24)
  checkWhole('clients.count', clients.count, 0, 1000)
  check('clients.thinkMs', clients.thinkMs, 0.001, 600_000)
  check('clients.refusedMs', clients.refusedMs, 0.001, 600_000)
  checkWhole('clients.keys', clients.keys, 1, 1_000_000)
  for (const [name, weight] of Object.entries(clients.weights)) check(`clients.weights.${name}`, weight, 0, 1_000_000)
  check('clients.leases', clients.leases, 0, 1)
  checkWhole('clients.paddingMax', clients.paddingMax, 0, 1_000_000)
  check('clients.deadlines', clients.deadlines, 0, 1)
  check('clients.deadlineMs', clients.deadlineMs, 1, 600_000)
  check('clients.signals', clients.signals, 0, 1)
  checkWhole('clients.sessions', clients.sessions, 0, 100)
  checkWhole('clients.outside', clients.outside, 0, 100)
  check('faultEveryMs', plan.faultEveryMs, 1, Number.MAX_SAFE_INTEGER)
  check('spellMs', plan.spellMs, 1, 6_000_000)
  check('restartMs', plan.restartMs, 0, 600_000)
  if (plan.losesQuorumAt !== null) check('losesQuorumAt', plan.losesQuorumAt, 0, 1)
  for (const [name, weight] of Object.entries(plan.faults)) {
    if (!(FAULT_NAMES as readonly string[]).includes(name)) {
      refuse(`faults.${name}`, weight, `there is no such fault, but ${FAULT_NAMES.join(', ')}`)
    }
    check(`faults.${name}`, weight, 0, 1_000_000)
  }
}

/** Throws ERR_RAFT_OPTIONS on a name that no plan has; `like` is one. Of faults and snapshots others check it. */
export function checkNames(plan: Plan, like: Plan): void {
  checkOptionNames('plan', plan, Object.keys(like))
  for (const part of ['network', 'chaos', 'disk', 'clients'] as const) {
    checkOptionNames(`${part} of plan`, plan[part], Object.keys(like[part]))
  }
}

export function checkWhole(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    refuse(name, value, `it must be a whole number in ${min} .. ${max}`)
  }
}

function check(name: string, value: number, min: number, max: number): void {
  if (!(value >= min && value <= max)) refuse(name, value, `it must be a number in ${min} .. ${max}`)
}

function refuse(name: string, value: number, why: string): never {
  throw new RaftError('ERR_RAFT_OPTIONS', `option ${name} is ${value}: ${why}`)
}
