# The headings of all documents, with their files. A line that begins with # inside a fenced block
# is somebody's comment.
. scripts/common.sh
grep '[.]md$' out/files.txt | xargs awk '
	FNR == 1 { fenced = 0 }
	/^```/ { fenced = !fenced }
	!fenced && /^#+ / { print FILENAME ": " $0 }' | put out/headings.txt
fact headings "$(awk 'END { print NR }' out/headings.txt)"
