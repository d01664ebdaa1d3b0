/**
 * How long writes are held up when the leader is killed: one write at a time, kill -9 of the leader, the time from the
 * kill to the next acknowledged write; then the killed server is started again. One kill per round, and what is asked
 * for is their distribution.
 */

import { KvServers } from '../cluster/kv-servers.js'
import type { Settings } from '../settings.js'
import type { OpenSuite, Suite } from '../suite.js'

/** Before each kill, so that the cluster is at work. */
const WRITES_PER_ROUND = 200

export const failover: Suite = {
  name: 'failover',
  purpose: 'kill -9 of the leader of the key-value store, once a round: how long no write is taken',
  minutes: 3,
  rounds: 50,
  distribution: true,
  seconds: 1,
  metrics: [{ key: 'gapMs', head: 'kill to next acknowledged write, ms', digits: 0 }],
  judged: { key: 'gapMs', better: 'less' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await KvServers.start(settings)
  let leader = 0
  const measure = async (): Promise<{ gapMs: number }> => {
    for (let left = WRITES_PER_ROUND; left > 0; left -= 1) leader = await servers.write(leader)
    const killedAt = performance.now()
    const victim = leader
    await servers.kill(victim)
    leader = await servers.write(servers.after(victim))
    const gapMs = performance.now() - killedAt
    await servers.restart(victim)
    return { gapMs }
  }
  const { electionTimeoutMs } = settings
  return {
    cases: [{ contender: 'balsa-kv', at: { 'election timeout ms': electionTimeoutMs }, measure }],
    skipped: [],
    notes: [`${WRITES_PER_ROUND} writes before each kill; every single gap stands in run.json`],
    close: () => servers.close(),
  }
}
