# lines.sh N OF: how many lines each file of the N-th part of OF has.
. scripts/common.sh
part "$1" "$2" | xargs awk '{ lines[FILENAME]++ } END { for (f in lines) print lines[f], f }' |
	sort -k 2 | put "out/parts/lines-$1.txt"
