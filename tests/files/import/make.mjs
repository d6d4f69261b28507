// Makes the fixtures: an account of Baileys, and the network that it was linked to.
//
//   npm ci --prefix tests/baileys && node tests/files/import/make.mjs PROGRAM NAME PACKAGE
//
// PROGRAM is a sandbox build, NAME the fixture (baileys-7), PACKAGE the version (@whiskeysockets/baileys,
// baileys6). The account has chatted with two people and in a group; two texts wait for it. One-time keys
// are taken out of both but for a few, since they are most of it.

import { spawn, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const [program, name, pack] = process.argv.slice(2)
const here = dirname(fileURLToPath(import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'warung-'))
const account = join(work, 'account')
const own = '6281200000700', first = '6281200000701', second = '6281200000702'

const network = spawn(program, ['network', '--data', join(work, 'data'), '--listen', '127.0.0.1:0'])
const lines = of => createInterface({ input: of.stdout })[Symbol.asyncIterator]()
const said = lines(network)
let url
while (!url) url = (await said.next()).value.match(/whatsapp at (ws:.*)/)?.[1]
const call = async (method, path, body) => {
  const answer = await fetch(new URL(path, url.replace('ws:', 'http:')), {
    method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
  return answer.json()
}
const say = (from, to, text) => call('POST', `/sandbox/phones/${from}/messages`, { to, text })

const { rootKey } = await call('GET', '/sandbox')
const client = spawn('node', ['client.mjs', url, rootKey, account, pack], { cwd: join(here, '../../baileys') })
const events = lines(client)
const hear = async kind => {
  for (;;) {
    const { value, done } = await events.next()
    if (done) throw new Error('the client ended')
    let event = {}
    try { event = JSON.parse(value) } catch { /* libsignal talks, too */ }
    if (event.error) throw new Error(event.error)
    if (event[kind]) return event[kind]
  }
}
const send = async (to, text) => {
  client.stdin.write(JSON.stringify({ to, text }) + '\n')
  await hear('sent')
}

for (const phone of [first, second]) await call('PUT', `/sandbox/phones/${phone}`, { registered: true })
await call('POST', '/sandbox/scan', { qr: await hear('qr'), phone: own })
await hear('open')
await send(`${first}@s.whatsapp.net`, 'satu')
await say(first, own, 'dua')
await hear('message')
await send(`${first}@s.whatsapp.net`, 'tiga')
await say(second, own, 'empat')
await hear('message')
const group = await call('POST', '/sandbox/groups', { subject: 'Arisan', participants: [first, second, own] })
await send(group.id, 'lima')
await say(first, group.id, 'enam')
await hear('message')
await say(second, group.id, 'tujuh')
await hear('message')
client.stdin.end()
await new Promise(ended => client.on('close', ended))
await say(first, own, 'delapan')
await say(second, group.id, 'sembilan')
network.kill()
await new Promise(ended => network.on('close', ended))

const newest = new Map()
for (const line of readFileSync(join(work, 'data/sandbox.journal'), 'utf8').trim().split('\n')) {
  const { key, value } = JSON.parse(line)
  newest.set(JSON.stringify(key), { key, value })
}
const published = newest.get(JSON.stringify({ Keys: { number: Number(own), device: 1 } })).value
published.one_time = published.one_time.slice(0, 5)
const kept = new Set(published.one_time.map(([id]) => `pre-key-${id}.json`))
for (const file of readdirSync(account)) {
  if (file.startsWith('pre-key-') && !kept.has(file)) rmSync(join(account, file))
}
writeFileSync(join(work, 'sandbox.journal'), [...newest.values()].map(line => JSON.stringify(line) + '\n').join(''))
const target = join(here, `${name}.tar.gz`)
execFileSync('tar', ['-C', work, '--owner=0', '--group=0', '--sort=name', '-czf', target, 'account', 'sandbox.journal'])
rmSync(work, { recursive: true })
