module lockbridge/testbed/relay/matterbridge

go 1.26

require github.com/42wim/matterbridge v1.26.0

require (
	github.com/d5/tengo/v2 v2.13.0 // indirect
	github.com/fsnotify/fsnotify v1.6.0 // indirect
	github.com/gomarkdown/markdown v0.0.0-20221013030248-663e2500819c // indirect
	github.com/google/gops v0.3.26 // indirect
	github.com/hashicorp/golang-lru v0.6.0 // indirect
	github.com/hashicorp/hcl v1.0.0 // indirect
	github.com/jpillora/backoff v1.0.0 // indirect
	github.com/kyokomi/emoji/v2 v2.2.11 // indirect
	github.com/lrstanley/girc v0.0.0-20221222153823-a92667a5c9b4 // indirect
	github.com/magiconair/properties v1.8.7 // indirect
	github.com/matterbridge/go-xmpp v0.0.0-20211030125215-791a06c5f1be // indirect
	github.com/matterbridge/logrus-prefixed-formatter v0.5.3-0.20200523233437-d971309a77ba // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.16 // indirect
	github.com/mgutz/ansi v0.0.0-20200706080929-d51e80ef957d // indirect
	github.com/mitchellh/mapstructure v1.5.0 // indirect
	github.com/paulrosania/go-charset v0.0.0-20190326053356-55c9d7a5834c // indirect
	github.com/pelletier/go-toml/v2 v2.0.6 // indirect
	github.com/rs/xid v1.4.0 // indirect
	github.com/saintfish/chardet v0.0.0-20230101081208-5e3ef4b5456d // indirect
	github.com/sirupsen/logrus v1.9.0 // indirect
	github.com/spf13/afero v1.9.3 // indirect
	github.com/spf13/cast v1.5.0 // indirect
	github.com/spf13/jwalterweatherman v1.1.0 // indirect
	github.com/spf13/pflag v1.0.5 // indirect
	github.com/spf13/viper v1.15.0 // indirect
	github.com/subosito/gotenv v1.4.2 // indirect
	github.com/writeas/go-strip-markdown v2.0.1+incompatible // indirect
	golang.org/x/crypto v0.4.0 // indirect
	golang.org/x/image v0.3.0 // indirect
	golang.org/x/sys v0.4.0 // indirect
	golang.org/x/term v0.4.0 // indirect
	golang.org/x/text v0.6.0 // indirect
	gopkg.in/ini.v1 v1.67.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

tool github.com/42wim/matterbridge
