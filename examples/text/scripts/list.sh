# The files to look at: Rust and documents, without what was built and what is hidden.
. scripts/common.sh
rm -f out/facts.txt out/parts/*
find ../.. \( -name target -o -name out -o -name '.*' ! -name .. \) -prune \
	-o -type f \( -name '*.rs' -o -name '*.md' \) -print | sort | put out/files.txt
test -s out/files.txt
