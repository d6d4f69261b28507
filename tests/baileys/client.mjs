// An unmodified Baileys, pointed at the simulated network: only the address and the pinned root key
// differ. It talks JSON lines: events on standard output, orders on standard input.
//
//   node client.mjs ws://127.0.0.1:PORT/ws/chat ROOT_KEY_HEX [FOLDER [PACKAGE]]
//
// With a folder it keeps its account there, as programs that use Baileys do; without one, in memory.
//
// out: {"qr": ".."}  {"open": "<own jid>"}  {"message": {"from","text"}}  {"sent": "<id>"}  {"error": ".."}
// in:  {"to": "<jid>", "text": ".."}
//
// At the end of its input it closes the connection and ends.

import { connect as dial, createServer } from 'node:net'
import { createInterface } from 'node:readline'

const [url, root, folder, name = '@whiskeysockets/baileys'] = process.argv.slice(2)
// Version 6 is CommonJS, version 7 is not.
const load = async path => { const loaded = await import(path); return { ...loaded.default, ...loaded } }
const { makeWASocket, DEFAULT_CONNECTION_CONFIG, initAuthCreds, useMultiFileAuthState, proto, BufferJSON } = await load(name)
const { WA_CERT_DETAILS } = await load(`${name}/lib/Defaults/index.js`)
// An address from which answers come 20 ms later.
const far = url => new Promise(found => {
  const { hostname, port, pathname } = new URL(url)
  const server = createServer(near => {
    const there = dial(port, hostname)
    near.pipe(there)
    there.on('data', data => setTimeout(() => near.write(data), 20))
    there.on('close', () => setTimeout(() => near.destroy(), 20))
    for (const end of [near, there]) end.on('error', () => {})
  })
  server.listen(0, '127.0.0.1', () => found(`ws://127.0.0.1:${server.address().port}${pathname}`))
})

if (WA_CERT_DETAILS.PUBLIC_KEY) {
  WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(root, 'hex')
  DEFAULT_CONNECTION_CONFIG.waWebSocketUrl = url
} else {
  // Version 6 knows only the number of the root key, and loses an answer that comes before it is ready.
  DEFAULT_CONNECTION_CONFIG.waWebSocketUrl = await far(url)
}

const say = value => process.stdout.write(JSON.stringify(value) + '\n')
const silent = { level: 'silent', child: () => silent }
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) silent[level] = () => {}

const kept = new Map()
const inMemory = {
  get: async (type, ids) => Object.fromEntries(ids.map(id => {
    let value = kept.get(`${type} ${id}`)
    if (value !== undefined) value = JSON.parse(value, BufferJSON.reviver)
    if (type === 'app-state-sync-key' && value) value = proto.Message.AppStateSyncKeyData.fromObject(value)
    return [id, value]
  })),
  set: async data => {
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values)) {
        if (value === null || value === undefined) kept.delete(`${type} ${id}`)
        else kept.set(`${type} ${id}`, JSON.stringify(value, BufferJSON.replacer))
      }
    }
  },
}

const { state, saveCreds } = folder
  ? await useMultiFileAuthState(folder)
  : { state: { creds: initAuthCreds(), keys: inMemory }, saveCreds: () => {} }
const { creds } = state

let socket
let ended = false
const connect = () => {
  socket = makeWASocket({ auth: state, logger: silent, syncFullHistory: false })
  socket.ev.on('creds.update', update => { Object.assign(creds, update); return saveCreds() })
  socket.ev.on('connection.update', update => {
    if (update.qr) say({ qr: update.qr })
    if (update.connection === 'open') say({ open: socket.user.id })
    if (update.connection === 'close' && !ended) {
      const code = update.lastDisconnect?.error?.output?.statusCode
      if (code === 515) connect()
      else say({ error: `closed: ${code} ${update.lastDisconnect?.error?.message}` })
    }
  })
  socket.ev.on('messages.upsert', ({ messages }) => {
    for (const { key, message } of messages) {
      const text = message?.conversation ?? message?.extendedTextMessage?.text
      if (text && !key.fromMe) say({ message: { from: key.remoteJid, text } })
    }
  })
}
connect()

createInterface({ input: process.stdin }).on('line', async line => {
  const { to, text } = JSON.parse(line)
  try {
    const sent = await socket.sendMessage(to, { text })
    say({ sent: sent.key.id })
  } catch (error) {
    say({ error: String(error) })
  }
}).on('close', async () => {
  // What is being written to the folder is written first.
  ended = true
  await saveCreds()
  socket.end(undefined)
  setTimeout(() => process.exit(0), folder ? 500 : 0)
})
