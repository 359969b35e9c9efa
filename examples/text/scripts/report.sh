# What was found, on one screen.
. scripts/common.sh

known() {
	awk -F= -v name="$1" '$1 == name { print $2 }' out/facts.txt
}

# bars N: the first N lines of `name number`, each with a bar as long as its share of the first.
bars() {
	awk -v rows="$1" 'NR == 1 { most = $2 } NR <= rows {
		printf "  %-22s %7d  ", $1, $2
		for (i = 0; i < 30 * $2 / most; i++) printf "#"
		print ""
	}'
}

{
	echo "This repository in figures"
	echo "  files     $(known rust) of Rust, $(known documents) documents, $(known headings) headings"
	echo "  lines     $(known lines)"
	echo "  words     $(known words) of four letters or more, $(known vocabulary) different ones"
	echo "  longest   $(known longest)"
	avoid=$(known avoid)
	echo "  to avoid  ${avoid:-not looked for}${avoid:+ lines of documents}"
	echo
	echo "Most frequent words"
	bars 10 <out/words.txt
	echo
	echo "Lines"
	bars 20 <out/lines.txt
} | put out/report.txt
cat out/report.txt
