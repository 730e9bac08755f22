# SPDX-License-Identifier: BSD-2-Clause
# Unpacks packages of the architecture $ARCH at $DIR: $PACKAGES, what they depend on, and the compiler's standard library.
# That is of the release of the compiler. All else is of sid where the mirror lacks a package, as it may for architectures
# that few people use.
rm -rf "$DIR"
mkdir -p "$DIR/usr/lib" "$DIR/usr/lib64" "$DIR/apt/cache/archives/partial"
# As in a Debian that is installed: a package of its own makes these.
ln -s usr/lib "$DIR/lib"
ln -s usr/lib64 "$DIR/lib64"
mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list)

# Lets apt-get know the suite $1 for the architecture, and nothing of what is installed here.
take_from() {
    mkdir -p "$DIR/apt/$1/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$DIR/apt/$1.list"
    cat >"$DIR/apt/$1.conf" <<END
APT::Architecture "$ARCH";
APT::Architectures "$ARCH";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Dir::Etc::SourceList "$DIR/apt/$1.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$DIR/apt/$1";
Dir::State::Status "/dev/null";
Dir::Cache "$DIR/apt/cache";
END
    export APT_CONFIG="$DIR/apt/$1.conf"
    apt-get -q update
}

take_from trixie
cd "$DIR/apt/cache"
apt-get -q download libstd-rust-dev
if ! apt-get -q -y --download-only install $PACKAGES; then
    rm -f "$DIR"/apt/cache/archives/*.deb
    take_from sid
    apt-get -q -y --download-only install $PACKAGES
fi
for package in "$DIR"/apt/cache/*.deb "$DIR"/apt/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$DIR"
done
cp -a "$DIR/usr/lib/rustlib/." /usr/lib/rustlib/
basename "$APT_CONFIG" .conf >"$DIR/suite"
rm -r "$DIR/apt"
