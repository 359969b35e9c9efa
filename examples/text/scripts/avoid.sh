# Where the documents use words of avoid.txt.
. scripts/common.sh
{ grep '[.]md$' out/files.txt | xargs grep -inwF -f avoid.txt /dev/null || true; } | put out/avoid.txt
fact avoid "$(awk 'END { print NR }' out/avoid.txt)"
