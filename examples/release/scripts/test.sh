#!/bin/sh
# Every page of the archive has a title, and every link leads to a page of it.
set -eu
rm -rf out/test && mkdir -p out/test
tar -xf out/site.tar -C out/test
for page in out/test/*.html; do
	grep -q '<title>..*</title>' "$page" || { echo "$page has no title" >&2; exit 1; }
	for link in $(sed -n 's/.*href="\([^"]*\)".*/\1/p' "$page"); do
		test -e "out/test/$link" || { echo "$page links to $link, which is not there" >&2; exit 1; }
	done
done
rm -rf out/test
echo "$(ls src | wc -l) pages are fine"
