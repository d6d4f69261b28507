'use strict';
// The start file of a Node.js application in cPanel (Passenger): passes requests on to the Warung
// gateway of the same account, and has it started when it does not run. The gateway is a process
// of its own, because Passenger starts and ends this one as it likes.

const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { spawn } = require('child_process');

const HOME = process.env.WARUNG_HOME || path.join(os.homedir(), 'warung');
const BASE = (process.env.PASSENGER_BASE_URI || process.env.WARUNG_BASE || '').replace(/\/+$/, '');
const START_PAUSE = 5000; // between two attempts to start the gateway
const PATIENCE = 15000; // how long a GET waits for it to come up
const SILENCE = 120000; // how long a connection may be silent

const PASSENGER = typeof PhusionPassenger !== 'undefined';

// Headers that concern one connection only, or that a client must not set.
const NOT_PASSED_ON = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te',
  'trailer', 'transfer-encoding', 'upgrade', 'expect', 'host', 'forwarded', 'via', 'x-real-ip',
]);

// Where the gateway listens, from its settings file: the user may change it.
function gateway() {
  const settings = fs.readFileSync(path.join(HOME, 'warung.toml'), 'utf8');
  const found = /^\s*listen\s*=\s*"([^"]+)"/m.exec(settings);
  const listen = found ? found[1] : '127.0.0.1:3000';
  if (listen.startsWith('unix:')) {
    return { socketPath: listen.slice(5).replace(/:[0-7]{3,4}$/, '') };
  }
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(listen.slice(colon + 1)) };
}

// A connection for each request: the gateway may close an idle one just as a POST is written to it.
// It is this side that closes: Node ends a request by an empty write, which fails on a Unix socket
// that the gateway has closed already, and the answer would be lost.
const oneRequest = new http.Agent({ keepAlive: true });
oneRequest.keepSocketAlive = () => false;

let lastStart = 0;
function startGateway() {
  if (Date.now() - lastStart < START_PAUSE) return;
  lastStart = Date.now();
  const child = spawn('/bin/sh', [path.join(HOME, 'watchdog.sh'), '--start'], { detached: true, stdio: 'ignore' });
  child.on('error', () => {});
  child.unref();
}

function passable(headers) {
  const named = String(headers.connection || '').toLowerCase().split(',').map((s) => s.trim());
  const out = {};
  for (const name of Object.keys(headers)) {
    // Passenger adds names that begin with "!": they are for this process only.
    if (!NOT_PASSED_ON.has(name) && !named.includes(name) && !name.startsWith('!')) out[name] = headers[name];
  }
  return out;
}

function requestHeaders(req) {
  const headers = passable(req.headers);
  for (const name of Object.keys(headers)) {
    if (name.startsWith('x-forwarded')) delete headers[name];
  }
  // Under Passenger the other end is the web server. What it says about https cannot be told from
  // what a client says.
  const told = req.headers['!~passenger-client-address'] || String(req.headers['x-forwarded-for'] || '').split(',').pop().trim();
  headers['x-forwarded-for'] = (PASSENGER ? told : req.socket.remoteAddress) || 'unknown';
  if (!PASSENGER) headers['x-forwarded-proto'] = 'http';
  if (req.headers.host) headers['x-forwarded-host'] = req.headers.host;
  // A body of unknown length goes on in pieces, whatever the method.
  if (req.headers['transfer-encoding']) headers['transfer-encoding'] = 'chunked';
  return headers;
}

function refuse(res, status, message) {
  if (res.headersSent) return void res.destroy();
  const headers = { 'content-type': 'application/json' };
  if (status === 503) headers['retry-after'] = '10';
  res.writeHead(status, headers);
  res.end(JSON.stringify({ status: 'error', message }));
}

function handle(req, res) {
  const hasBody = 'transfer-encoding' in req.headers || Number(req.headers['content-length'] || 0) > 0;
  const mayRetry = (req.method === 'GET' || req.method === 'HEAD') && !hasBody;
  const deadline = Date.now() + PATIENCE;
  let gone = false;
  let upstream = null;
  res.on('close', () => {
    gone = true;
    if (upstream) upstream.destroy();
  });
  // "/wa" and "/wa?x" are below "/wa" too; "/water" is not.
  let url = req.url;
  if (BASE && url.startsWith(BASE) && /^([/?]|$)/.test(url.slice(BASE.length))) url = url.slice(BASE.length);
  if (!url.startsWith('/')) url = '/' + url;

  function attempt() {
    let to;
    try {
      to = gateway();
    } catch (error) {
      return refuse(res, 503, 'The gateway is not installed: no settings in ' + HOME);
    }
    const how = { agent: oneRequest, method: req.method, path: url, headers: requestHeaders(req) };
    upstream = http.request(Object.assign(to, how));
    upstream.setTimeout(SILENCE, () => upstream.destroy(Object.assign(new Error('silent'), { code: 'SILENT' })));
    upstream.on('response', (answer) => {
      res.writeHead(answer.statusCode, passable(answer.headers));
      answer.on('aborted', () => res.destroy());
      answer.pipe(res);
    });
    upstream.on('error', (error) => {
      if (gone) return;
      if (error.code === 'SILENT') return refuse(res, 504, 'The gateway did not answer in time');
      const down = error.code === 'ECONNREFUSED' || error.code === 'ENOENT';
      if (down) startGateway();
      if (down && mayRetry && Date.now() < deadline) return void setTimeout(() => gone || attempt(), 250);
      console.error('warung: no answer from the gateway: ' + error.message);
      refuse(res, 503, down ? 'The gateway is being started: try again' : 'The gateway went away: try again');
    });
    if (hasBody) req.pipe(upstream);
    else upstream.end();
  }
  attempt();
}

const server = http.createServer(handle);
// Passenger puts its own socket in the place of this port.
server.listen(Number(process.env.PORT) || 3000, '127.0.0.1');
