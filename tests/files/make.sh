#!/usr/bin/env bash
# Makes the files that the tests send, with Debian's tools; the results are kept beside this script.
# needs: ffmpeg imagemagick webp libimage-exiftool-perl ghostscript libreoffice-writer-nogui libreoffice-calc-nogui
set -euo pipefail
cd "$(dirname "$0")"
quiet="-hide_banner -loglevel error -y"
# A picture whose corners differ: red, green, blue, white; then turned by its EXIF orientation.
convert -size 160x100 xc:white -fill red -draw 'rectangle 0,0 79,49' -fill green -draw 'rectangle 80,0 159,49' \
  -fill blue -draw 'rectangle 0,50 79,99' -quality 90 turned.jpg
exiftool -q -overwrite_original -n -Orientation=6 turned.jpg
convert -size 120x80 xc:none -fill red -draw 'circle 60,40 60,10' alpha.png
convert -delay 10 -loop 0 -size 64x64 xc:red xc:green xc:blue moving.gif
gif2webp -quiet moving.gif -o moving.webp
ffmpeg $quiet -f lavfi -i testsrc=duration=2:size=128x96:rate=10 -f lavfi -i sine=frequency=440:duration=2 \
  -c:v libx264 -pix_fmt yuv420p -c:a aac -b:a 32k -movflags +faststart film.mp4
ffmpeg $quiet -f lavfi -i sine=frequency=440:duration=2 -c:a libopus -b:a 16k voice.ogg
ffmpeg $quiet -f lavfi -i sine=frequency=440:duration=2 -c:a libmp3lame -b:a 32k song.mp3
ffmpeg $quiet -f lavfi -i sine=frequency=440:duration=2 -c:a aac -b:a 32k song.m4a
printf 'Price list\n\nTea 5000\nRice 12000\n' > prices.txt
printf 'item,price\ntea,5000\nrice,12000\n' > prices.csv
for kind in docx doc pdf; do soffice --headless --convert-to "$kind" prices.txt >/dev/null 2>&1; done
for kind in xlsx xls; do soffice --headless --convert-to "$kind" prices.csv >/dev/null 2>&1; done
rm prices.txt prices.csv
