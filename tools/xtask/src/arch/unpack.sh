# SPDX-License-Identifier: BSD-2-Clause
# Unpacks packages of the architecture $ARCH in $DIR: $PACKAGES, their dependencies, and Rust's standard library. The standard
# library must be from the release of the compiler. All other packages are from sid if the mirror lacks one of them for the
# release, which happens for architectures with few users.
rm -rf "$DIR"
mkdir -p "$DIR/usr/lib" "$DIR/usr/lib64" "$DIR/apt/cache/archives/partial"
# These links are not in the packages: installing Debian creates them.
ln -s usr/lib "$DIR/lib"
ln -s usr/lib64 "$DIR/lib64"
mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list)

# Configures apt-get for the suite $1 and the architecture, as if no packages were installed.
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
