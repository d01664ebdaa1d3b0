/** What TLS costs: the same commands through three servers that speak in the clear, and three that do not, in turns. */

import { RaftServers } from '../cluster/raft-servers.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Suite } from '../suite.js'
import { APPLY_METRICS, APPLY_NOTES, applyCases } from './apply.js'

export const tls: Suite = {
  name: 'tls',
  purpose: 'commands through three servers under mutual TLS 1.3, beside those through three in the clear',
  minutes: 2,
  rounds: 5,
  seconds: 5,
  metrics: APPLY_METRICS,
  judged: { key: 'perSecond', better: 'more' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const opened: RaftServers[] = []
  const cases: Case[] = []
  const close = async (): Promise<void> => {
    for (const servers of opened) await servers.close()
  }
  try {
    for (const [contender, isEncrypted] of [
      ['in the clear', false],
      ['TLS 1.3', true],
    ] as const) {
      const servers = await RaftServers.start(settings, { tls: isEncrypted })
      opened.push(servers)
      cases.push(...applyCases(contender, servers, settings))
    }
  } catch (error) {
    await close()
    throw error
  }
  return { cases, skipped: [], notes: APPLY_NOTES, close }
}
