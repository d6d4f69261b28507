#!/bin/sh
# Installs Warung into ~/warung of a shared-hosting account, without root. It can be run again: it
# renews its scripts, keeps settings and data, and updates the program if another one is given.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)

usage() {
  cat <<TEXT
usage: install.sh [--binary FILE] [--port N | --socket] [--front KIND [--public DIR]]

  --binary FILE   the warung program (default: the file warung beside this script)
  --port N        listen on 127.0.0.1:N (default: a free port)
  --socket        listen on a Unix socket that only this account reaches; for the PHP and Node fronts
  --front KIND    put a front for the web server: proxy, php or node (README.md helps to choose)
  --public DIR    the web folder (default: public_html, the root of the domain). Its /api, /media and
                  /warung (pages) go to the gateway, everything else stays as it is. A folder below,
                  such as public_html/wa, has them there. For node: the application root (warung-node)
TEXT
}

# What ends up in settings, crontab lines and rules of the web server must need no quoting.
plain_path() {
  case $1 in
    *[!A-Za-z0-9/._-]*) die "cannot work with the folder name $1: only letters, digits and . _ - /" ;;
  esac
}

absolute() {
  case $1 in
    /*) echo "$1" ;;
    *) echo "$(cd "$HOME" && pwd -P)/$1" ;;
  esac
}

read_options() {
  # In a release the program lies beside the kit's folder.
  binary=$here/warung wanted='' front='' public=''
  [ -e "$binary" ] || binary=$here/../warung
  while [ $# -gt 0 ]; do
    case $1 in
      --socket) wanted=socket; shift; continue ;;
      --help | -h) usage; exit 0 ;;
      --binary | --port | --front | --public) [ $# -ge 2 ] || die "$1 needs a value" ;;
      *) usage >&2; exit 2 ;;
    esac
    case $1 in
      --binary) binary=$2 ;;
      --port) wanted=$2 ;;
      --front) front=$2 ;;
      --public) public=$2 ;;
    esac
    shift 2
  done
  case $wanted in
    '' | socket) ;;
    *[!0-9]*) die "--port needs a number" ;;
    *) if [ "$wanted" -lt 1024 ] || [ "$wanted" -gt 65535 ]; then die "--port: 1024 to 65535"; fi ;;
  esac
  case $front in
    '') [ -z "$public" ] || front=proxy ;;
    proxy | php) public=${public:-public_html} ;;
    node) public=${public:-warung-node} ;;
    *) die "--front: proxy, php or node" ;;
  esac
  [ -z "$public" ] || { public=$(absolute "$public"); plain_path "$public"; }
}

check_place() {
  [ "$(id -u)" -ne 0 ] || die "run this as the account's user, not as root"
  for tool in flock setsid timeout sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || die "this account has no $tool, which the scripts need; ask the host"
  done
  plain_path "$home"
  case $home/ in
    */public_html/* | */htdocs/*) die "$home lies in a web folder: everybody could fetch your keys" ;;
  esac
}

# In place of an older file in one step: the minute check may be reading it.
put() {
  cp "$1" "$2.new"
  chmod "$3" "$2.new"
  mv -f "$2.new" "$2"
}

put_scripts() {
  mkdir -p "$home" "$data" "$run" "$home/log"
  chmod 700 "$home" "$data" "$run" "$home/log"
  for script in daemon.sh watchdog.sh warungctl update.sh remove.sh; do
    put "$here/$script" "$home/$script" 700
  done
  # Should a web server ever be pointed here.
  printf 'Require all denied\n' >"$home/.htaccess"
}

# Whether a TCP listener or connection of this machine has the port.
port_is_taken() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf '%04X' "$1") "
}

# Below the range from which systems take ports for outgoing connections.
free_port() {
  while :; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    port_is_taken "$port" || break
  done
  echo "$port"
}

write_settings() {
  if [ ! -e "$settings" ] && [ -e "$data/warung.toml" ]; then
    mv "$data/warung.toml" "$settings"
  fi
  if [ -e "$settings" ]; then
    [ -z "$wanted" ] || say "kept $settings; to listen elsewhere change listen there, and run this again"
    return 0
  fi
  case $wanted in
    socket) listen=unix:$run/warung.sock ;;
    '') listen=127.0.0.1:$(free_port) ;;
    *) listen=127.0.0.1:$wanted ;;
  esac
  cat >"$settings.new" <<TEXT
# Settings of this account's gateway; the README of Warung lists them all.
# After a change: ~/warung/warungctl restart (and install.sh again if listen changed).
listen = "$listen"
data = "$data"

# Everybody with an account on this machine reaches its loopback ports: no send without a token.
legacy = "token"
# The web server of this machine tells the clients' addresses.
trusted_proxies = ["127.0.0.1/32", "::1/128"]

# Small, as accounts are.
store_cache = 4194304
max_connections = 128
max_sessions = 20
TEXT
  mv "$settings.new" "$settings"
}

# Made here so that the gateway does not print it, and so into a log.
make_master_key() {
  [ ! -s "$data/master.key" ] || return 0
  od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$data/master.key.new"
  mv "$data/master.key.new" "$data/master.key"
}

cron_lines() {
  echo "@reboot $home/watchdog.sh >/dev/null 2>&1 # warung-watchdog"
  echo "* * * * * $home/watchdog.sh >/dev/null 2>&1 # warung-watchdog"
}

add_cron_lines() {
  if other_cron_lines "$run/cron"; then
    cron_lines >>"$run/cron"
    if crontab "$run/cron" && crontab -l | grep -q '# warung-watchdog$'; then
      rm -f "$run/cron"
      return 0
    fi
  fi
  rm -f "$run/cron"
  say "NOT in your crontab: the crontab command is missing or refuses." >&2
  say "Without these lines nothing restarts the gateway. Add them in cPanel under Cron Jobs:" >&2
  cron_lines >&2
}

put_program() {
  if [ ! -e "$bin" ]; then
    put "$binary" "$bin" 700
  elif [ -f "$binary" ] && ! cmp -s "$binary" "$bin"; then
    "$home/update.sh" "$binary"
  fi
  chmod 700 "$bin"
}

record() {
  grep -qxF "$1 $2" "$home/fronts" 2>/dev/null || echo "$1 $2" >>"$home/fronts"
}

# A file of the kit, its place holders filled, at the head of what the web folder has of that name.
put_block() {
  target=$public/$2
  : >"$target.warung"
  fill "$here/$1" >"$target.warung"
  if [ -e "$target" ]; then
    [ "$(grep -c '^[#;] BEGIN warung' "$target")" = "$(grep -c '^[#;] END warung' "$target")" ] ||
      die "$target has a BEGIN warung without its END: mend it first"
    without_block "$target" >>"$target.warung"
  fi
  chmod 644 "$target.warung"
  record block "$target"
  mv -f "$target.warung" "$target"
}

# A file of the kit, into that place of the web folder.
put_file() {
  target=$public/$2
  if [ -e "$target" ] && ! grep -qxF "file $target" "$home/fronts" 2>/dev/null; then
    die "$target is there already and not of this kit: choose another folder with --public"
  fi
  record file "$target"
  fill "$here/$1" >"$target"
  chmod 644 "$target"
}

fill() {
  sed -e "s#@PORT@#${listen##*:}#g" -e "s#@LISTEN@#$listen#g" -e "s#@HOME@#$home#g" "$1"
}

put_front() {
  [ -n "$front" ] || return 0
  listen=$(listen_address)
  case $front,$listen in
    proxy,unix:*) die "the proxy front needs a port: put listen = \"127.0.0.1:PORT\" into $settings" ;;
  esac
  new_folder=no
  if [ ! -d "$public" ]; then
    mkdir -p "$public"
    chmod 755 "$public"
    new_folder=yes
  fi
  case $front in
    proxy | php)
      for name in api media; do
        [ ! -e "$public/$name" ] ||
          say "note: the site has $public/$name: its files stay its own, other addresses below it go to the gateway"
      done
      ;;
  esac
  case $front in
    proxy) put_block htaccess.proxy .htaccess ;;
    php)
      new_pages=no
      [ -d "$public/warung" ] || { mkdir "$public/warung"; chmod 755 "$public/warung"; new_pages=yes; }
      put_file proxy.php warung/proxy.php
      put_block user.ini warung/.user.ini
      [ "$new_pages" = no ] || record folder "$public/warung"
      put_block htaccess.php .htaccess
      ;;
    node)
      put_file app.js app.js
      put_file package.json package.json
      ;;
  esac
  [ "$new_folder" = no ] || record folder "$public"
  say "front: $front in $public"
}

# A port that another account takes in the meantime shows only now.
start() {
  for _ in 1 2 3; do
    if "$home/warungctl" start; then return 0; fi
    if [ -n "$wanted" ] || [ "$had_settings" = yes ] ||
      ! tail -n 5 "$log" | grep -q 'another program listens there'; then
      return 1
    fi
    sed -i "s/^listen = .*/listen = \"127.0.0.1:$(free_port)\"/" "$settings"
  done
  return 1
}

next_steps() {
  echo
  say "address on this machine: $(listen_address)"
  case $front in
    proxy | php)
      below=${public#"$(absolute public_html)"}
      [ "$below" != "$public" ] || below=''
      say "on the web: https://YOUR-DOMAIN$below/api/v1 and, for its pages, https://YOUR-DOMAIN$below/warung/"
      [ -z "$below" ] || say "in $settings, public_url = \"https://YOUR-DOMAIN$below\" makes links in answers right"
      ;;
    node) say "on the web: as set in cPanel; application root $public, start file app.js" ;;
  esac
  say "master key: in $data/master.key (show it to nobody)"
  say "pair a phone: $home/warungctl pair shop"
  say "look after it: $home/warungctl status | logs | stop | start"
}

main() {
  home=$(cd "$HOME" && pwd -P)/warung
  # It may be a link to somewhere else.
  [ ! -d "$home" ] || home=$(cd "$home" && pwd -P)
  # shellcheck source=daemon.sh
  . "$here/daemon.sh"
  read_options "$@"
  check_place
  [ -e "$bin" ] || [ -f "$binary" ] || die "there is no program $binary; name it with --binary"
  put_scripts
  had_settings=no
  if [ -e "$settings" ] || [ -e "$data/warung.toml" ]; then had_settings=yes; fi
  write_settings
  make_master_key
  put_program
  start || die "the gateway does not start; see $log"
  add_cron_lines
  put_front
  next_steps
}

main "$@"
exit
