// Makes the folders `older` and `newer`: what Super-Light keeps on the disk, in its two layouts, written by
// us after them and not by it. Accounts are made by Baileys itself, and belong to nobody.
//
//   cd tests/baileys && npm ci && node ../files/import/super_light/make.mjs
//
// Python's sqlite3 makes the database: half of it lies in the log, as where a program was killed.
import { execFileSync } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const find = createRequire(join(here, '../../../baileys/package.json'))
const baileys = await import(pathToFileURL(find.resolve('@whiskeysockets/baileys')))
const { initAuthCreds, useMultiFileAuthState } = baileys

// The same bytes for the same word, so that files change only where this script does.
const bytes = (word, length) => createHash('shake256', { outputLength: length }).update(word).digest()
const KEY = bytes('key', 32)

const kept = {
  newer(object) {
    const nonce = bytes(JSON.stringify(object), 12)
    const cipher = createCipheriv('aes-256-gcm', KEY, nonce)
    const sealed = Buffer.concat([cipher.update(JSON.stringify(object), 'utf8'), cipher.final()])
    return 'v2:' + [nonce, cipher.getAuthTag(), sealed].map(part => part.toString('hex')).join(':')
  },
  older(object) {
    const first = bytes(JSON.stringify(object), 16)
    const cipher = createCipheriv('aes-256-cbc', KEY, first)
    return `${first.toString('hex')}:${cipher.update(JSON.stringify(object), 'utf8', 'hex')}${cipher.final('hex')}`
  },
}

const put = (root, name, text) => {
  mkdirSync(dirname(join(here, root, name)), { recursive: true })
  writeFileSync(join(here, root, name), text)
}

// A folder of Baileys; without a number nobody has scanned its code.
async function account(root, session, number) {
  const folder = join(here, root, 'auth_info_baileys', session)
  const { state, saveCreds } = await useMultiFileAuthState(folder)
  Object.assign(state.creds, initAuthCreds())
  if (number) {
    Object.assign(state.creds, {
      me: { id: `${number}:7@s.whatsapp.net`, lid: `1${number}:7@lid`, name: 'Toko' },
      account: {
        details: bytes('details', 16),
        accountSignatureKey: bytes('account', 32),
        accountSignature: bytes('signed', 64),
        deviceSignature: bytes('signed here', 64),
      },
      registered: true,
      platform: 'android',
    })
  }
  await saveCreds()
}

const person = (number, name, rest) => ({ number, name, jobTitle: '', companyName: '', customFields: {}, ...rest })
const fate = (status, sentAt, error, retryCount) => ({ status, sentAt, error, retryCount })
const pending = fate('pending', null, null, 0)

const campaign = (id, sessionId, rest) => ({
  id,
  name: 'Promo Juli',
  createdBy: 'admin@localhost',
  createdAt: '2025-07-14T08:00:00.000Z',
  scheduledAt: null,
  status: 'draft',
  sessionId,
  message: { type: 'text', content: '<p>Halo {{Name}} &amp; keluarga</p>', mediaUrl: null, mediaCaption: null },
  recipients: [],
  statistics: { total: 0, sent: 0, failed: 0, pending: 0 },
  settings: { delayBetweenMessages: 1000, retryFailedMessages: true, maxRetries: 3 },
  ...rest,
})

const list = (id, recipients) => ({
  id,
  name: 'Langganan',
  description: 'Pelanggan tetap',
  createdBy: 'admin@localhost',
  createdAt: '2025-07-13T08:00:00.000Z',
  lastUsed: '2025-07-14T08:00:00.000Z',
  usageCount: 2,
  recipients,
  tags: ['vip'],
})

// One that ran when its program was stopped; the number that is there twice was written to.
const running = (id, session) =>
  campaign(id, session, {
    status: 'sending',
    startedAt: '2025-07-14T08:00:05.000Z',
    recipients: [
      person('6285777000001', 'Ani', fate('sent', '2025-07-14T08:00:06.000Z', null, 0)),
      person('6285777000002', 'Budi', fate('failed', null, 'Timed Out', 1)),
      person('+62 857-7700-0003', 'Cici', pending),
      person('6285777000004', 'Dedi', pending),
      person('6285777000004', 'Dedi', fate('sent', '2025-07-14T08:00:07.000Z', null, 0)),
      person('not a number', 'Edi', pending),
    ],
  })

const image = join(here, '../../alpha.png')
const env = (port, more) =>
  `# settings\nTOKEN_ENCRYPTION_KEY=${KEY.toString('hex')}\nPORT=${port}\nMASTER_API_KEY="rahasia-toko"\n${more}`

for (const root of ['older', 'newer']) {
  rmSync(join(here, root), { recursive: true, force: true })
}

// The older layout: all beside the program.
put('older', '.env', env(3999, 'WEBHOOK_URL=https://hooks.example.org/all # for all\n'))
put('older', 'session_tokens.enc', kept.older({
  kasir: '11111111-1111-4111-8111-111111111111',
  gudang: '22222222-2222-4222-8222-222222222222',
}))
await account('older', 'kasir', '6281200000770')
await account('older', 'gudang')
put('older', 'campaigns/campaign_1752480000000_aaaaaaaa.json', kept.older(running('campaign_1752480000000_aaaaaaaa', 'gudang')))
put('older', 'campaigns/campaign_1752480000001_bbbbbbbb.json', kept.older(campaign('campaign_1752480000001_bbbbbbbb', 'kasir', {
  name: 'Katalog',
  status: 'completed',
  startedAt: '2025-07-14T08:00:05.000Z',
  completedAt: '2025-07-14T08:10:00.000Z',
  message: {
    type: 'image',
    content: '<p>Katalog</p>',
    mediaUrl: 'http://localhost:3999/media/33333333-3333-4333-8333-333333333333.png',
    mediaCaption: 'Katalog baru',
  },
  recipients: [
    person('6285777000001', 'Ani', fate('sent', '2025-07-14T08:00:06.000Z', null, 0)),
    person('6285777000002', 'Budi', fate('failed', null, 'Timed Out', 3)),
  ],
})))
put('older', 'recipient_lists/list_1752390000000_cccccccc.json', kept.older(list('list_1752390000000_cccccccc', [
  person('6285777000001', 'Ani', { companyName: 'PT Maju', customFields: { kota: 'Bandung' } }),
  person('6285777000002', 'Budi'),
])))
mkdirSync(join(here, 'older/media'))
copyFileSync(image, join(here, 'older/media/33333333-3333-4333-8333-333333333333.png'))

// The newer layout: sessions and webhooks in a database, the rest below `src`.
put('newer', '.env', env(3998, ''))
await account('newer', 'toko', '6281200000771')
put('newer', 'src/services/campaigns/campaign_1766000000000_dddddddd.json', kept.newer(running('campaign_1766000000000_dddddddd', 'gudang')))
put('newer', 'src/services/campaigns/campaign_1766000000001_eeeeeeee.json', kept.newer(campaign('campaign_1766000000001_eeeeeeee', 'toko', {
  name: 'Brosur',
  status: 'ready',
  scheduledAt: '2030-01-01T02:00:00.000Z',
  message: { type: 'document', content: '', mediaUrl: 'https://example.org/brosur.pdf', mediaCaption: null, fileName: 'brosur.pdf' },
  recipients: [person('6285777000001', 'Ani', pending)],
})))
// Kept before the form changed.
put('newer', 'src/services/recipient_lists/list_1766000000002_ffffffff.json', kept.older(list('list_1766000000002_ffffffff', [
  person('6285777000001', 'Ani'),
])))
mkdirSync(join(here, 'newer/media'))
copyFileSync(image, join(here, 'newer/media/44444444-4444-4444-8444-444444444444.upload.png'))
copyFileSync(image, join(here, 'newer/media/1766000000000_3EB0AA.png'))
mkdirSync(join(here, 'newer/data'))
execFileSync('python3', [join(here, 'database.py'), join(here, 'newer/data/whatsapp.db')])
console.log(readdirSync(here, { recursive: true }).join('\n'))
