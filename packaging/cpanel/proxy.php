<?php
// Passes requests for /api, /media and the pages in this folder on to the Warung gateway of the same account.
// Bodies go through in pieces, never whole in memory; PHP keeps uploads in files of its own. Event streams do not pass: each one would
// hold a PHP process for as long as it is open.

const LISTEN = '@LISTEN@';
const SECONDS = 110;

// Headers that concern one connection only, that curl writes itself, or that a client must not set.
const NOT_PASSED_ON = [
    'connection', 'keep-alive', 'proxy', 'proxy-authorization', 'proxy-authenticate', 'proxy-connection',
    'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect', 'host', 'content-length',
    'forwarded', 'via', 'x-real-ip',
];
const NOT_PASSED_BACK = [
    'connection', 'keep-alive', 'proxy-authenticate', 'proxy-connection', 'te', 'trailer',
    'transfer-encoding', 'upgrade', 'date', 'server',
];

function refuse(int $status, string $message): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    if ($status === 503) {
        header('Retry-After: 30');
    }
    echo json_encode(['status' => 'error', 'message' => $message]);
    exit;
}

/**
 * The gateway's path, with its query, as the client wrote it: /api and /media stand beside this folder,
 * and the pages, /health and the like are in it.
 */
function target(): string
{
    $pages = rtrim(dirname($_SERVER['SCRIPT_NAME']), '/');
    $beside = rtrim(dirname($pages), '/');
    $uri = $_SERVER['REQUEST_URI'];
    if (preg_match('/[\x00-\x20\x7f#]/', $uri)) {
        refuse(404, 'No such address');
    }
    if (strncmp($uri, "$pages/", strlen($pages) + 1) === 0) {
        return substr($uri, strlen($pages));
    }
    $path = substr($uri, strlen($beside));
    if (strncmp($uri, "$beside/", strlen($beside) + 1) !== 0 || !preg_match('#^/(api|media)([/?]|$)#', $path)) {
        refuse(404, 'No such address');
    }
    return $path;
}

/** Whether PHP has taken the body apart already. (A .user.ini comes too late to forbid it.) */
function is_form(): bool
{
    return $_SERVER['REQUEST_METHOD'] === 'POST'
        && stripos($_SERVER['CONTENT_TYPE'] ?? '', 'multipart/form-data') === 0
        && ini_get('enable_post_data_reading');
}

/** A form's fields and files, for curl to put together again. */
function form(): array
{
    if (!$_POST && !$_FILES) {
        refuse(413, 'This is more than PHP takes here: raise post_max_size and upload_max_filesize');
    }
    $form = [];
    foreach ($_POST as $name => $value) {
        add_field($form, (string) $name, $value);
    }
    foreach ($_FILES as $name => $file) {
        if (is_array($file['error'])) {
            refuse(400, 'Only one file per field passes through PHP');
        }
        if ($file['error'] === UPLOAD_ERR_OK) {
            $form[$name] = new CURLFile($file['tmp_name'], $file['type'], $file['name']);
        } elseif ($file['error'] !== UPLOAD_ERR_NO_FILE) {
            refuse(413, 'PHP did not take the file: raise upload_max_filesize');
        }
    }
    return $form;
}

function add_field(array &$form, string $name, $value): void
{
    if (!is_array($value)) {
        $form[$name] = $value;
        return;
    }
    foreach ($value as $key => $item) {
        add_field($form, "{$name}[$key]", $item);
    }
}

/** The client's headers as curl wants them. */
function request_headers(): array
{
    $headers = [];
    foreach ($_SERVER as $name => $value) {
        if (strncmp($name, 'HTTP_', 5) === 0) {
            $headers[strtolower(strtr(substr($name, 5), '_', '-'))] = $value;
        }
    }
    if (empty($headers['authorization']) && isset($_SERVER['REDIRECT_HTTP_AUTHORIZATION'])) {
        $headers['authorization'] = $_SERVER['REDIRECT_HTTP_AUTHORIZATION'];
    }
    if (isset($_SERVER['CONTENT_TYPE']) && !is_form()) {
        $headers['content-type'] = $_SERVER['CONTENT_TYPE'];
    }
    $https = !empty($_SERVER['HTTPS']) && strtolower($_SERVER['HTTPS']) !== 'off';
    // Empty, these keep curl from adding its own.
    $lines = ['Expect:', 'Accept:'];
    foreach ($headers as $name => $value) {
        $own = in_array($name, NOT_PASSED_ON, true) || strncmp($name, 'x-forwarded', 11) === 0;
        if (!$own && $value !== '' && !preg_match('/[\x00-\x08\x0a-\x1f\x7f]/', $value)) {
            $lines[] = "$name: $value";
        }
    }
    $lines[] = 'X-Forwarded-For: ' . $_SERVER['REMOTE_ADDR'];
    $lines[] = 'X-Forwarded-Proto: ' . ($https ? 'https' : 'http');
    if (preg_match('/^[A-Za-z0-9.:\[\]-]+$/', $_SERVER['HTTP_HOST'] ?? '')) {
        $lines[] = 'X-Forwarded-Host: ' . $_SERVER['HTTP_HOST'];
    }
    return $lines;
}

/** Gives curl the request's body, where there is one. */
function attach_body($curl): void
{
    $length = $_SERVER['CONTENT_LENGTH'] ?? '';
    if ($length === '' && isset($_SERVER['HTTP_TRANSFER_ENCODING'])) {
        refuse(411, 'This way to the gateway needs a Content-Length');
    }
    if ((int) $length === 0) {
        return;
    }
    if (is_form()) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, form());
        return;
    }
    $body = fopen('php://input', 'rb');
    $first = (string) fread($body, 8192);
    if ($first === '') {
        refuse(413, 'This is more than PHP takes here: raise post_max_size');
    }
    curl_setopt_array($curl, [
        CURLOPT_UPLOAD => true,
        CURLOPT_INFILESIZE => (int) $length,
        CURLOPT_READFUNCTION => function ($curl, $unused, int $most) use ($body, &$first): string {
            if ($first === '') {
                return (string) fread($body, $most);
            }
            $piece = substr($first, 0, $most);
            $first = (string) substr($first, $most);
            return $piece;
        },
    ]);
}

/** Sends the answer's head on once it is complete. Answers false for an event stream. */
function send_head(array $head): bool
{
    foreach ($head as $line) {
        if (preg_match('#^content-type:\s*text/event-stream#i', $line)) {
            return false;
        }
    }
    http_response_code((int) explode(' ', $head[0])[1]);
    header_remove();
    foreach (array_slice($head, 1) as $line) {
        $name = strtolower(strstr($line, ':', true) ?: '');
        if ($name !== '' && !in_array($name, NOT_PASSED_BACK, true)) {
            header($line, false);
        }
    }
    return true;
}

function pass_on(): void
{
    $method = $_SERVER['REQUEST_METHOD'];
    $unix = strncmp(LISTEN, 'unix:', 5) === 0;
    $curl = curl_init(($unix ? 'http://localhost' : 'http://' . LISTEN) . target());
    if ($unix) {
        curl_setopt($curl, CURLOPT_UNIX_SOCKET_PATH, preg_replace('/:[0-7]{3,4}$/', '', substr(LISTEN, 5)));
    }
    attach_body($curl);
    if ($method === 'HEAD') {
        curl_setopt($curl, CURLOPT_NOBODY, true);
    }
    $head = [];
    $begun = false;
    $stream = false;
    curl_setopt_array($curl, [
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_HTTPHEADER => request_headers(),
        CURLOPT_PROTOCOLS => CURLPROTO_HTTP,
        CURLOPT_PROXY => '',
        CURLOPT_PATH_AS_IS => true,
        CURLOPT_CONNECTTIMEOUT => 5,
        CURLOPT_TIMEOUT => SECONDS,
        CURLOPT_HEADERFUNCTION => function ($curl, string $raw) use (&$head, &$begun, &$stream): int {
            $line = rtrim($raw, "\r\n");
            if (strncmp($line, 'HTTP/', 5) === 0) {
                $head = [$line];
            } elseif ($line !== '') {
                $head[] = $line;
            } elseif ((int) explode(' ', $head[0])[1] >= 200) {
                $begun = send_head($head);
                $stream = !$begun;
            }
            return $stream ? 0 : strlen($raw);
        },
        CURLOPT_WRITEFUNCTION => function ($curl, string $piece): int {
            echo $piece;
            flush();
            return strlen($piece);
        },
    ]);
    $passed = curl_exec($curl);
    if ($stream) {
        refuse(501, 'Event streams do not pass through PHP: use webhooks, or the proxy front');
    }
    if (!$passed && !$begun) {
        error_log('warung: no answer from the gateway: ' . curl_error($curl));
        $waited = curl_errno($curl) === CURLE_OPERATION_TIMEDOUT && curl_getinfo($curl, CURLINFO_REQUEST_SIZE) > 0;
        refuse($waited ? 504 : 503, $waited ? 'The gateway did not answer in time' : 'The gateway does not run now');
    }
}

ini_set('display_errors', '0');
ini_set('default_charset', '');
ini_set('default_mimetype', '');
ini_set('zlib.output_compression', '0');
set_time_limit(SECONDS + 20);
while (ob_get_level() > 0) {
    ob_end_clean();
}
if (!function_exists('curl_init')) {
    refuse(501, 'This PHP has no curl extension: switch it on in cPanel under Select PHP Version');
}
pass_on();
