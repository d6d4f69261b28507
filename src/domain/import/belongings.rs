//! Lists and campaigns, each for the session that it belongs to.

use super::arrival::Arrival;
use super::homes::{Homes, Thing};
use super::incoming::Belongs;
use super::report::{Outcome, Report};
use crate::domain::Gateway;
use crate::domain::campaign::imported::{ImportedCampaign, IncomingCampaign};
use crate::domain::list::imported::{ImportedList, IncomingList};
use crate::error::Result;
use crate::store::unless_damaged;

impl Gateway {
    /// Hands recipient lists out.
    pub(super) fn hand_out_lists(
        &self,
        lists: Vec<(Belongs, IncomingList)>,
        homes: &Homes,
        arrivals: &mut [Arrival],
        report: &mut Report,
    ) {
        let now = self.clock().now();
        for (belongs, list) in lists {
            let thing = Thing {
                about: list.about(),
                said: list.said(),
                belongs: &belongs,
            };
            let list = ImportedList::of(list, now);
            let bytes = list.bytes();
            if let Some(home) = homes.give(thing, arrivals, |room| room.take_list(bytes), report) {
                home.lists.push(list);
            }
        }
    }

    /// Hands campaigns out.
    pub(super) async fn hand_out_campaigns(
        &self,
        campaigns: Vec<(Belongs, IncomingCampaign)>,
        homes: &Homes,
        arrivals: &mut [Arrival],
        report: &mut Report,
    ) -> Result<()> {
        let now = self.clock().now();
        for (belongs, campaign) in campaigns {
            let (about, mut said) = (campaign.about(), campaign.said());
            let mut campaign = ImportedCampaign::of(campaign, &self.ids, now);
            if let Some(there) = homes.gives_way(&belongs, arrivals) {
                let number = there.session.number;
                let went_on = campaign.go_on_from(number, &self.store).await;
                let Some((gone_on, reached)) = unless_damaged(went_on)? else {
                    let said = "one of this id is here and is damaged, so that nobody knows whom it wrote to: \
                                delete it first";
                    report.add(Outcome::Problem, about, said);
                    continue;
                };
                campaign = gone_on;
                if reached > 0 {
                    let more = format!(
                        "; it went on here, where more were written to, and they are not again: {reached}"
                    );
                    said.push_str(&more);
                }
            }
            let thing = Thing {
                about,
                said,
                belongs: &belongs,
            };
            let bytes = campaign.bytes();
            let fits = |room: &mut super::room::Room| room.take_campaign(bytes);
            if let Some(home) = homes.give(thing, arrivals, fits, report) {
                home.campaigns.push(campaign);
            }
        }
        Ok(())
    }
}
