#!/bin/sh
# Packs a program as releases do, to standard output: packaging/pack.sh PROGRAM >PROGRAM.xz
#
# With the filter for the processor's jumps it is a twelfth smaller. The dictionary is as large as the
# program: whoever unpacks it needs 17 MB of memory, and not 65.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 PROGRAM >PROGRAM.xz" >&2; exit 2; }
case $(readelf -h "$1" 2>/dev/null) in
    *X86-64*) filter=--x86 ;;
    # The filter for aarch64 came with xz 5.4, which hosts need not have.
    *AArch64*) filter= ;;
    *' ARM'*) filter=--arm ;;
    *) filter= ;;
esac
exec xz --format=xz ${filter:+"$filter"} --lzma2=preset=9e,dict=16MiB --stdout -- "$1"
