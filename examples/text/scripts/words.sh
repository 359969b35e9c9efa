# words.sh N OF: how often each word of four letters or more occurs in the N-th part of OF.
. scripts/common.sh
part "$1" "$2" | xargs cat | tr -cs 'A-Za-z' '\n' | tr 'A-Z' 'a-z' | awk 'length > 3' |
	sort | uniq -c | awk '{ print $2, $1 }' | put "out/parts/words-$1.txt"
