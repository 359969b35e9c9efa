# The lines of Rust in each crate and of text in all documents, and the longest file.
. scripts/common.sh
cat out/parts/lines-*.txt |
	awk '{
		split($2, folder, "/")
		name = folder[3] == "crates" ? folder[4] : folder[3]
		lines[$2 ~ /[.]md$/ ? "documents" : name] += $1
	}
	END { for (name in lines) print name, lines[name] }' |
	sort -k 2,2nr -k 1,1 | put out/lines.txt
fact lines "$(awk '{ sum += $2 } END { print sum + 0 }' out/lines.txt)"
fact longest "$(sort -k 1,1nr -k 2,2 out/parts/lines-*.txt |
	awk 'NR == 1 { sub(/^[.][.]\/[.][.]\//, "", $2); print $2 ", " $1 " lines" }')"
