# The words of all parts, most frequent first, and how many there are.
. scripts/common.sh
sort -m out/parts/words-*.txt |
	awk '$1 != word { if (word) print word, sum; word = $1; sum = 0 }
		{ sum += $2 }
		END { if (word) print word, sum }' |
	sort -k 2,2nr -k 1,1 | put out/words.txt
fact words "$(awk '{ sum += $2 } END { print sum + 0 }' out/words.txt)"
fact vocabulary "$(awk 'END { print NR }' out/words.txt)"
