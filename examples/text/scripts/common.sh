# Read by every script: stop at the first error, the same result in every locale, and files that are
# whole or not there.
set -e
LC_ALL=C
export LC_ALL
mkdir -p out/parts

# put FILE: standard input becomes FILE at once.
put() {
	cat >"$1.new"
	mv "$1.new" "$1"
}

# fact NAME VALUE: notes one figure in out/facts.txt. Whoever calls it holds `facts`.
fact() {
	touch out/facts.txt
	{
		grep -v "^$1=" out/facts.txt || true
		echo "$1=$2"
	} | sort | put out/facts.txt
}

# part N OF: the files of the N-th part of OF.
part() {
	awk -v n="$1" -v of="$2" 'NR % of == n % of' out/files.txt
}
